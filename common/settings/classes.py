"""Classes of a dataset, and how those of its annotations count where they are others."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from common.settings.section import Section


class MappedClasses(Section):
    """Classes of a dataset whose annotations may have others: the base of sections `dataset`."""

    classes: tuple[str, ...]
    annotated_classes: tuple[str, ...] | None = Field(
        None,
        description="Classes of the annotations where they are not `classes`, numbered ones in"
        " their order; null: they are.",
    )
    class_map: dict[str, str | None] | None = Field(
        None,
        description="Class that an annotated class counts as; null leaves its events out, counted"
        " in the log. Classes that are not named here count as themselves.",
    )

    @model_validator(mode="after")
    def _annotated_classes_have_a_class(self) -> Self:
        unread = [name for name in self.class_map or {} if name not in self.labels]
        if unread:
            raise ValueError(
                f"`class_map` names {', '.join(map(repr, unread))}. Expected: classes of the"
                f" annotations, `annotated_classes`: {', '.join(self.labels)}."
            )
        wanted = {name: (self.class_map or {}).get(name, name) for name in self.labels}
        unknown = [name for name, kind in wanted.items() if kind not in (None, *self.classes)]
        if unknown:
            raise ValueError(
                f"`class_map` has no class of `classes` for {', '.join(map(repr, unknown))}."
                f" Expected: one of {', '.join(self.classes)}, or null, which leaves it out."
            )
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that annotations may have."""
        return self.annotated_classes or (*self.classes, *self._mapped_only)

    @property
    def _mapped_only(self) -> Sequence[str]:
        """Classes that only `class_map` names, which annotations with names may have, too."""
        return [name for name in self.class_map or {} if name not in self.classes]

    @property
    def is_mapped(self) -> bool:
        """True if annotated classes may count as others."""
        return self.annotated_classes is not None or bool(self.class_map)

    @property
    def mapping_content(self) -> dict[str, object]:
        """Part of the settings of stored labels; empty without a mapping: stores stay the same."""
        numbers = dict(zip(self.labels, self.class_numbers, strict=True))
        return {"annotated_classes": numbers} if self.is_mapped else {}

    def counted_as(self, label: str) -> str | None:
        """Class that an annotated class counts as; None: its events are left out."""
        return (self.class_map or {}).get(label, label)

    @property
    def class_numbers(self) -> list[int]:
        """For each of `labels`, the number of its class; -1: its events are left out."""
        found = map(self.counted_as, self.labels)
        return [-1 if name is None else self.classes.index(name) for name in found]
