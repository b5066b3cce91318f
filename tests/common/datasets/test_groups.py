"""Groups dealt into splits: none in two, each class in all if possible, shares as set."""

import itertools
import random

import numpy as np
import pytest

from common.datasets.groups import (
    SourceGroup,
    check_deal,
    count_groups,
    deal_groups,
    fold_problems,
    shared_groups,
)
from common.errors import DataError
from common.settings.folds import FoldConfig


def random_layout(seed: int, most_groups: int = 7) -> tuple[list[SourceGroup], int]:
    """Groups of up to four classes, some of several classes, and a number of splits."""
    draw = random.Random(seed)
    files = []
    for number in range(draw.randint(1, most_groups)):
        for _ in range(draw.randint(1, 5)):
            files.append((f"g{number}", [f"c{k}" for k in range(4) if draw.random() < 0.4]))
    return count_groups(files), draw.choice([2, 3])


def is_covering(groups: list[SourceGroup], dealt: dict[str, int], n_splits: int) -> bool:
    """True if each class is in as many of the first splits as it has groups."""
    for name in {name for group in groups for name in group.counts}:
        splits = [dealt[group.name] for group in groups if name in group.counts]
        if not set(range(min(n_splits, len(splits)))) <= set(splits):
            return False
    return True


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_a_class_lacks_a_split_only_where_every_deal_does(first):
    for seed in range(first, first + 20):
        groups, n_splits = random_layout(seed, 6)
        dealt = deal_groups(groups, [1 / n_splits] * n_splits, np.random.default_rng(seed))
        assert sorted(dealt) == [group.name for group in groups] and set(dealt.values()) <= set(
            range(n_splits)
        )
        names = [group.name for group in groups]
        every = (
            dict(zip(names, splits, strict=True))
            for splits in itertools.product(range(n_splits), repeat=len(names))
        )
        assert is_covering(groups, dealt, n_splits) == any(
            is_covering(groups, each, n_splits) for each in every
        )


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_the_groups_has_no_influence(seed):
    groups, n_splits = random_layout(seed, 30)
    shares = [1 / n_splits] * n_splits
    shuffled = random.Random(seed).sample(groups, len(groups))
    dealt = deal_groups(groups, shares, np.random.default_rng(5))
    assert dealt == deal_groups(shuffled, shares, np.random.default_rng(5))


def test_another_seed_deals_otherwise():
    groups = [SourceGroup(f"g{number}", 1, {"a": 1}) for number in range(12)]
    first, second = (
        deal_groups(groups, [0.5, 0.5], np.random.default_rng(seed)) for seed in (0, 1)
    )
    assert first != second


@pytest.mark.parametrize("shares", [(0.8, 0.2), (1 / 3, 1 / 3, 1 / 3), (0.9, 0.05, 0.05)])
@pytest.mark.parametrize("seed", range(3))
def test_each_split_gets_its_share_of_every_class(shares, seed):
    rng = np.random.default_rng(seed)
    groups = [
        SourceGroup(f"g{n}", int(size), {f"c{n % 5}": int(size)})
        for n, size in enumerate(rng.integers(1, 10, 300))
    ]
    dealt = deal_groups(groups, shares, rng)
    for name in (f"c{k}" for k in range(5)):
        total = sum(group.counts.get(name, 0) for group in groups)
        for split, share in enumerate(shares):
            found = sum(group.counts.get(name, 0) for group in groups if dealt[group.name] == split)
            assert abs(found / total - share) <= 9 / total  # within the largest group


def test_of_two_unequal_groups_the_larger_one_trains():
    groups = [SourceGroup("small", 1, {"Cat": 1}), SourceGroup("large", 44, {"Cat": 44})]
    for seed in range(5):
        assert deal_groups(groups, [0.8, 0.2], np.random.default_rng(seed)) == {
            "large": 0,
            "small": 1,
        }
        assert deal_groups(groups, [1 / 3] * 3, np.random.default_rng(seed), [2, 0, 1]) == {
            "large": 2,
            "small": 0,
        }


@pytest.mark.parametrize("groups", [[], [SourceGroup("g", 2, {})], [SourceGroup("g", 1, {"a": 1})]])
def test_few_groups_are_dealt_without_error(groups):
    assert deal_groups(groups, [0.5, 0.5], np.random.default_rng(0)) in ({}, {"g": 0}, {"g": 1})


def test_too_few_groups_are_reported_with_class_number_and_split():
    groups = [
        SourceGroup("g", 3, {"Cat": 3}),
        SourceGroup("h", 1, {"Dog": 1}),
        SourceGroup("i", 1, {"Dog": 1}),
    ]
    dealt = deal_groups(groups, [0.5, 0.5], np.random.default_rng(0))
    message = (
        r"^here: .*2 groups or more.*training, test.*Cat has 1 group\(s\) \(g with 3 .*none for"
        r" test\. Do"
    )
    with pytest.raises(DataError, match=message):
        check_deal(groups, dealt, {0: "training", 1: "test"}, "here", "Do.")
    check_deal(groups, dealt, {0: "training"}, "here", "Do.")


def test_classes_that_need_the_same_groups_are_told():
    pairs = [
        ("1", "AC"),
        ("2", "AB"),
        ("3", "BC"),
    ]  # of three groups no two splits have all three classes
    groups = [SourceGroup(name, 1, dict.fromkeys(classes, 1)) for name, classes in pairs]
    dealt = deal_groups(groups, [0.5, 0.5], np.random.default_rng(0))
    with pytest.raises(DataError, match=r"2 group\(s\) \(shared with other classes\)"):
        check_deal(groups, dealt, {0: "one", 1: "two"}, "here", "")


@pytest.mark.parametrize("seed", range(30))
def test_shared_groups_are_those_of_two_parts(seed):
    draw = random.Random(seed)
    parts = {f"p{n}": {f"g{draw.randint(0, 6)}": "x" for _ in range(3)} for n in range(3)}
    expected = sorted(
        {
            g
            for one, other in itertools.combinations(parts.values(), 2)
            for g in set(one) & set(other)
        }
    )
    assert list(shared_groups(parts)) == expected


@pytest.mark.parametrize(
    ("fold", "shared"),
    [
        (
            {"train": (1, 2), "validate_on": (), "test": (3,)},
            False,
        ),  # two training splits may share a group
        ({"train": (1,), "validate_on": (), "test": (2,)}, True),
        ({"train": (1,), "validate_on": (2,), "test": (3,)}, True),
        ({"train": (3,), "validate_on": (1,), "test": (2,)}, True),
        ({"train": (3,), "validate_on": (1, 2), "test": (1, 2), "validate_on_test": True}, False),
    ],
)
def test_a_group_must_not_be_in_two_parts_of_folds(fold, shared):
    members = {1: {"kitchen": "a"}, 2: {"kitchen": "b"}, 3: {"hall": "c"}}
    problems = fold_problems([FoldConfig(name="f", **fold)], members, "list")
    assert len(problems) == shared
    assert all(
        "'kitchen'" in each and "split 1, a" in each and "split 2, b" in each for each in problems
    )
