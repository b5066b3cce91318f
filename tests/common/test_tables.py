"""Tables as text."""

import csv

import pytest

from common.tables import header_problem, to_csv


def test_csv_is_read_back_as_it_was_with_commas_and_quotes():
    rows = [["a", 'b "c", d'], ["", "é"]]
    assert list(csv.reader(to_csv(rows).splitlines())) == rows


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (["a", "b"], None),
        (["b", "x", "a"], None),
        (["a"], "missing column(s) b"),
        (["a", "b", "a"], "column(s) a twice"),
    ],
)
def test_a_header_names_each_column_once(header, problem):
    assert header_problem(header, ("a", "b")) == problem
