"""Groups of recordings of one source, dealt into splits that share no group.

Clips of one recording, speaker or author sound alike. With groups in both training and test, scores
would measure memory: a group is therefore in one split only.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from common.errors import DataError
from common.settings.folds import FoldConfig

_SHOWN = 5  # groups or classes named in an error
_MAX_STEPS = 20_000  # of the search for a deal in which no class is absent from a split
_MAX_PASSES = 20  # over all groups, as long as moving single ones improves the balance
_NOISE = 1e-9  # differences of balance below it are rounding errors


@dataclass(frozen=True)
class SourceGroup:
    """Files of one source.

    Attributes:
        name: of the group; the same name is the same source, whatever the class.
        n_files: their number.
        counts: files of each class; a file may have several classes, or none.
    """

    name: str
    n_files: int
    counts: Mapping[str, int]


def count_groups(files: Iterable[tuple[str, Iterable[str]]]) -> list[SourceGroup]:
    """Collects groups from the group and the classes of each file; sorted by name."""
    sizes: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = {}
    for name, classes in files:
        sizes[name] += 1
        counts.setdefault(name, Counter()).update(set(classes))
    return [SourceGroup(name, sizes[name], counts[name]) for name in sorted(sizes)]


def deal_groups(
    groups: Sequence[SourceGroup],
    shares: Sequence[float],
    rng: np.random.Generator,
    order: Sequence[int] | None = None,
) -> dict[str, int]:
    """Deals whole groups into splits, so that each class is near its shares.

    A class with no fewer groups than splits is in all of them, unless groups of several classes
    make that impossible. The order of `groups` has no influence.

    Args:
        groups: with different names.
        shares: target share of the files in each split; their sum is 1.
        rng: decides between equally good deals.
        order: priority of the splits where a class has fewer groups than splits; None: as
            numbered.

    Returns:
        By name of the group, its split, an index of `shares`.
    """
    ordered = sorted(groups, key=lambda group: group.name)
    classes = sorted({name for group in ordered for name in group.counts})
    rows = [[*(group.counts.get(name, 0) for name in classes), group.n_files] for group in ordered]
    served = list(range(len(shares)) if order is None else order)
    amounts = np.array(rows, np.float64).reshape(len(ordered), len(classes) + 1)
    deal = _Deal(amounts, np.array(shares, np.float64), served, rng)
    # With only one split to serve there is always a deal.
    tried = (deal.run(served[:n_served]) for n_served in range(len(served), 0, -1))
    found = next(assigned for assigned in tried if assigned is not None)
    return dict(zip([group.name for group in ordered], found.tolist(), strict=True))


class _Deal:
    """Search for the split of each group.

    Attributes:
        parts: share of each group in the files of each class, and in the last column of all files,
            (G, K + 1).
        has: True if a group has files of a class, (G, K).
        shares: target of each split, (S,).
        largest_first: order of the groups, (G,).
        rank: preference of a group among equally good splits, (G, S): random, but by priority for a
            class with fewer groups than splits, whose first splits get the larger groups.
    """

    def __init__(
        self,
        amounts: np.ndarray,
        shares: np.ndarray,
        order: Sequence[int],
        rng: np.random.Generator,
    ) -> None:
        self.parts = amounts / np.maximum(amounts.sum(axis=0), 1.0)
        self.has = amounts[:, :-1] > 0
        self.shares = shares
        shuffled = rng.permutation(len(amounts))
        self.largest_first = np.lexsort((shuffled, -self.parts.max(axis=1, initial=0.0)))
        scarce = (self.has & (self.has.sum(axis=0) < len(shares))).any(axis=1)  # (G,)
        self.rank = np.where(scarce[:, None], np.argsort(order), rng.permutation(len(shares)))

    def run(self, served: Sequence[int]) -> np.ndarray | None:
        """Returns the split of each group, (G,), or None where no deal serves each class.

        A class is served if it is in all of these splits, or in as many of the first of them as it
        has groups.
        """
        needs = np.zeros((self.has.shape[1], len(self.shares)), bool)  # (K, S)
        for row, n_groups in zip(needs, self.has.sum(axis=0), strict=True):
            row[list(served[:n_groups])] = True
        assigned = self._spread(np.full(len(self.has), -1), needs)
        if (needs & (self._present(assigned) == 0)).any():
            covering = self._cover(needs)
            if covering is None:
                return None
            assigned = self._spread(covering, needs)
        return self._improve(assigned, needs)

    def _present(self, assigned: np.ndarray) -> np.ndarray:
        """Number of groups of each class in each split, (K, S)."""
        found = [self.has[assigned == split].sum(axis=0) for split in range(len(self.shares))]
        return np.stack(found, axis=1)

    def _excess(self, assigned: np.ndarray) -> np.ndarray:
        """Excess of each class in each split over its share, (K + 1, S)."""
        found = [self.parts[assigned == split].sum(axis=0) for split in range(len(self.shares))]
        return np.stack(found, axis=1) - self.shares

    def _spread(self, fixed: np.ndarray, needs: np.ndarray) -> np.ndarray:
        """Assigns the groups that are not fixed (-1), largest first, where they are needed most."""
        assigned, excess = fixed.copy(), self._excess(fixed)
        unmet = needs & (self._present(fixed) == 0)
        left = self.has[fixed < 0].sum(axis=0)  # (K,) groups of each class not yet assigned
        for group in self.largest_first[fixed[self.largest_first] < 0]:
            mine, part = self.has[group], self.parts[group][:, None]
            urgent = mine & (
                left <= unmet.sum(axis=1)
            )  # all remaining groups of these classes are needed
            met = unmet[urgent].sum(axis=0)  # (S,)
            cost = np.round((part * (2 * excess + part)).sum(axis=0), 9)
            split = np.lexsort((self.rank[group], cost, -met))[0]
            assigned[group] = split
            excess[:, split] += self.parts[group]
            unmet[mine, split] = False
            left = left - mine
        return assigned

    def _cover(self, needs: np.ndarray) -> np.ndarray | None:
        """Searches a group for each need of a class in a split; others stay -1. None: not found."""
        assigned, unmet = np.full(len(self.has), -1), needs
        choices: list[_Choice] = []
        for _ in range(_MAX_STEPS):
            if not unmet.any():
                return assigned
            choices.append(self._tightest(assigned, unmet))
            while choices and not choices[-1].untried:
                assigned[choices.pop().groups] = -1
            if not choices:
                return None
            choice = choices[-1]
            assigned[choice.groups] = -1
            choice.groups = [choice.untried.pop()]
            assigned[choice.groups] = choice.split
            unmet = choice.unmet.copy()
            unmet[self.has[choice.groups[0]], choice.split] = False
        return None

    def _tightest(self, assigned: np.ndarray, unmet: np.ndarray) -> "_Choice":
        """Need with the fewest spare groups, and groups that meet it, the best last."""
        free = assigned < 0
        needed = unmet.sum(axis=1)
        spare = self.has[free].sum(axis=0) - needed
        spare = np.where(needed > 0, spare, np.iinfo(np.int64).max)  # (K,)
        row = int(spare.argmin())
        split = int(unmet[row].argmax())
        able = [
            int(each) for each in self.largest_first[::-1] if free[each] and self.has[each, row]
        ]
        # One that meets many needs at once leaves more groups for the others.
        able.sort(key=lambda group: int(unmet[self.has[group], split].sum()))
        return _Choice(split, unmet, able if spare[row] >= 0 else [])

    def _improve(self, assigned: np.ndarray, needs: np.ndarray) -> np.ndarray:
        """Moves single groups as long as that improves the balance of the splits."""
        assigned, excess, present = assigned.copy(), self._excess(assigned), self._present(assigned)
        for _ in range(_MAX_PASSES):
            moved = False
            for group in self.largest_first:
                mine, part, old = self.has[group], self.parts[group], assigned[group]
                if (needs[mine, old] & (present[mine, old] < 2)).any():
                    continue
                gain = (part * (2 * excess[:, old] - part)).sum()
                cost = (part[:, None] * (2 * excess + part[:, None])).sum(axis=0) - gain
                cost[old] = 0.0
                new = int(np.round(cost, 9).argmin())
                if cost[new] > -_NOISE:
                    continue
                for split, sign in ((old, -1), (new, 1)):
                    excess[:, split] += sign * part
                    present[mine, split] += sign
                assigned[group], moved = new, True
            if not moved:
                break
        return assigned


@dataclass
class _Choice:
    """A need: its split, the unmet needs before it, groups to try, and the current one."""

    split: int
    unmet: np.ndarray
    untried: list[int]
    groups: list[int] = field(default_factory=list)


def check_deal(
    groups: Sequence[SourceGroup],
    dealt: Mapping[str, int],
    splits: Mapping[int, str],
    where: str,
    remedy: str,
    classes: Iterable[str] = (),
) -> None:
    """Refuses a deal in which a class is absent from a split.

    Args:
        groups: those dealt.
        dealt: the split of each.
        splits: titles of the required splits, by number.
        where: folder or table of the groups.
        remedy: advice for the user.
        classes: that must be in the splits besides those of the groups.

    Raises:
        DataError: names classes, the groups found, and the splits.
    """
    lacking = []
    for name in sorted({*classes, *(name for group in groups for name in group.counts)}):
        mine = [group for group in groups if group.counts.get(name)]
        present = {dealt[group.name] for group in mine}
        absent = [title for split, title in splits.items() if split not in present]
        if absent:
            enough = " (shared with other classes)" if len(mine) >= len(splits) else ""
            shown = ", ".join(f"{group.name} with {group.counts[name]}" for group in mine[:_SHOWN])
            more = f" and {len(mine) - _SHOWN} more" if len(mine) > _SHOWN else ""
            files = f" ({shown}{more} file(s))" if mine else ""
            lacking.append(
                f"{name} has {len(mine)} group(s){enough}{files}, none for {', '.join(absent)}"
            )
    if lacking:
        more = f"; and {len(lacking) - _SHOWN} more class(es)" if len(lacking) > _SHOWN else ""
        raise DataError(
            f"{where}: too few groups for the splits, since no group is in two of them. Expected:"
            f" {len(splits)} groups or more of each class, for {', '.join(splits.values())}."
            f" Received: {'; '.join(lacking[:_SHOWN])}{more}. {remedy}"
        )


def describe_deal(
    groups: Sequence[SourceGroup], dealt: Mapping[str, int], splits: Mapping[int, str]
) -> str:
    """Describes the number of groups and files of each split, for the log."""
    parts = []
    for split, title in splits.items():
        mine = [group for group in groups if dealt[group.name] == split]
        parts.append(f"{title} {len(mine)} ({sum(group.n_files for group in mine)} files)")
    spanning = sum(len(group.counts) > 1 for group in groups)
    return ", ".join(parts) + (f"; {spanning} group(s) have several classes" if spanning else "")


def shared_groups(parts: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Finds groups that are in several parts of the data.

    Args:
        parts: by title of the part, one of its files for each of its groups.

    Returns:
        By name of the group, sorted: its parts, each with a file.
    """
    places: dict[str, dict[str, str]] = {}
    for title, members in parts.items():
        for group, file in members.items():
            places.setdefault(group, {})[title] = file
    return {group: places[group] for group in sorted(places) if len(places[group]) > 1}


def apart_problem(parts: Mapping[str, Mapping[str, str]], where: str, remedy: str) -> str | None:
    """Describes the groups that are in several parts of the data; None if there is none.

    Args:
        parts: by title of the part, one of its files for each of its groups.
        where: table of the groups.
        remedy: advice for the user.
    """
    shared = shared_groups(parts)
    if not shared:
        return None
    listed = []
    for group, places in list(shared.items())[:_SHOWN]:
        files = " and in ".join(f"{title} ({file})" for title, file in places.items())
        listed.append(f"{group!r} in {files}")
    more = f"; and {len(shared) - _SHOWN} more" if len(shared) > _SHOWN else ""
    return (
        f"{where}: {len(shared)} group(s) are in two splits, so scores would be too good. Expected:"
        f" each group in one of them. Received: {'; '.join(listed)}{more}. {remedy}"
    )


def fold_problems(
    folds: Iterable[FoldConfig], members: Mapping[int, Mapping[str, str]], where: str
) -> list[str]:
    """Describes the folds that train, validate or test on splits with a group in common.

    Args:
        folds: those of the task.
        members: by split, one of its files for each of its groups.
        where: table of the groups.
    """
    problems = []
    for fold in folds:
        served = {"train": fold.train, "test": fold.test}
        if not fold.validate_on_test:
            served["validate_on"] = fold.validate_on
        parts: dict[str, dict[str, str]] = {}
        for part, splits in served.items():
            for split in splits:  # a group may be in two splits of one part
                files = members.get(split, {}).items()
                named = {group: f"split {split}, {file}" for group, file in files}
                parts[part] = named | parts.get(part, {})
        remedy = "Correct the splits, or the column group."
        if problem := apart_problem(parts, f"{where}, fold {fold.name!r}", remedy):
            problems.append(problem)
    return problems


def refuse(problems: Sequence[str]) -> None:
    """Raises the first problem as a DataError; nothing where there is none."""
    if problems:
        raise DataError(problems[0])
