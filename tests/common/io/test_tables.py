"""Tables as text: written, and read in any form or refused with the line."""

import csv

import numpy as np
import pytest

from common.errors import DataError
from common.io.tables import (
    header_of,
    header_problem,
    number_hint,
    parse_table,
    read_text,
    split_row,
    to_csv,
    to_number,
    to_numbers,
    to_whole,
)

COLUMNS = ("name", "labels")


def read(text, columns=COLUMNS, **settings):
    table = parse_table(text, columns, "t.csv", **settings)
    return [tuple(row.values()) for _, row in table.rows()]


def test_csv_with_commas_and_quotes_is_read_back():
    rows = [["a", 'b "c", d'], ["", "é"]]
    assert list(csv.reader(to_csv(rows).splitlines())) == rows
    assert read(to_csv([COLUMNS, *rows])) == list(map(tuple, rows))


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


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separator_line_ends_and_byte_order_mark_do_not_matter(separator, end, mark):
    rows = [
        "name|labels",
        'a|"x,y;z\tw"',
        "",
        ' b | "q" ',
        "c|",
        "||",
        'd|say "hi"|',
        'e|"a ""b"""',
    ]
    text = mark + end.join(row.replace("|", separator) for row in rows) + end
    assert read(text) == [
        ("a", "x,y;z\tw"),
        ("b", "q"),
        ("c", ""),
        ("d", 'say "hi"'),
        ("e", 'a "b"'),
    ]
    assert parse_table(text, COLUMNS, "t").lines == [2, 4, 5, 7, 8]


@pytest.mark.parametrize(
    "text",
    [
        ",labels,name\n0,x,a\n1,y,b\n",  # pandas
        ";name;labels;more\n0;a;x;\n1;b;y;z\n",
        "Unnamed: 0\tName\tLABELS\n0\ta\tx\n1\tb\ty\n",
        '"name","labels"\n"a","x"\n"b","y"\n',
        "sep=;\r\nname;labels\r\na;x\r\nb;y\r\n",  # Excel
        "\n\nname, labels, \na, x, \nb, y, \n",
        "file\tlabels\na\tx\nb\ty\n",
    ],
)
def test_index_columns_case_order_and_aliases_do_not_matter(text):
    assert read(text, aliases={"file": "name"}) == [("a", "x"), ("b", "y")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name,labels\na,x,y\n", r"line 2: 3 fields, more .* columns, 2.*double quotes"),
        ("name\tlabels\n\na\n", r"line 3: 1 fields, fewer .* columns, 2"),
        ('name,labels\n"a,x\nb,y\n', "line 2: a quote is opened and never closed"),
        ('name,labels\nb,y\n"a"s,x\n', "line 3: a field continues after its closing quote"),
        ("name,labels\na,x\0\n", "line 2: a NUL character"),
        (
            "name,label\na,x\n",
            r"line 1: missing column\(s\) labels. Expected: name, labels. Received: name, label\.",
        ),
        ("name,Labels,labels\n", r"line 1: column\(s\) labels twice"),
        ("name,x,labels,x\n", r"line 1: column\(s\) x twice"),
        ("", r"line 1: missing column\(s\) name, labels.*Received: nothing"),
        ("name,labels\na," + "x" * 200_000 + "\n", "line 2: field larger than field limit"),
    ],
)
def test_an_unusable_table_is_refused_with_the_line(text, problem):
    with pytest.raises(DataError, match=rf"^t\.csv, {problem}"):
        read(text)


def test_rows_may_end_early_if_the_reader_allows():
    assert read("labels,name,more\nx,a\n") == [("a", "x")]
    assert read("name,labels\na\n", pad=True) == [("a", "")]
    assert read("name,labels\na,x\n", ("name",), optional=("labels", "other")) == [("a", "x")]


def test_a_table_without_header_is_read_if_its_rows_fit():
    def columns(fields):
        return ("labels", "name") if len(fields) == 2 and fields[1].isdigit() else None

    assert read("x;1\ny;2\n", headerless=columns) == [("1", "x"), ("2", "y")]
    with pytest.raises(DataError, match="missing column"):
        read("x;y\n", headerless=columns)
    assert header_of("\ufeffName;other;\n1;2\n", ("name",)) == ("name", "other")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-.5", -0.5),
        ("+2.", 2),
        ("1e-3", 0.001),
        (" 7.25 ", 7.25),
        ("00012", 12),
        ("1E5", 1e5),
    ],
)
def test_plain_numbers_are_read(text, value):
    assert to_number(text) == value and to_numbers([text]).tolist() == [value]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1_0",
        "1,5",
        "nan",
        "inf",
        "-Infinity",
        "0x10",
        "1e999",
        "١٢",
        "１２",
        "1 2",
        "1.2.3",
        "e5",
        ".",
        "1d5",
    ],
)
def test_numbers_only_for_python_are_refused(text):
    assert to_number(text) is None and np.isnan(to_numbers([text])).all()
    assert to_whole(text) is None


def test_whole_numbers_have_no_point_and_few_digits():
    assert [to_whole(text) for text in ("12", "-3", "+4", "1.0", "1" * 19)] == [
        12,
        -3,
        4,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1,5", "decimal comma"),
        ("1_0", "without underscores"),
        ("١٢", "digits 0 to 9"),
        ("x", ""),
        ("3", ""),
    ],
)
def test_a_number_that_is_none_gets_a_remedy(text, problem):
    assert problem in number_hint("1.5", text) and bool(number_hint(text)) == bool(problem)


def test_one_line_is_split_by_the_separator_with_most_fields():
    assert split_row('1;2,5;"a;b"') == ["1", "2,5", "a;b"]
    assert split_row("") == [] and split_row('"a" , b', ",") == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            "name\tü\n".encode("utf-16"),
            "it is UTF-16, as Excel's 'Unicode Text'. Save it as 'CSV UTF-8'",
        ),
        ("name\tx\n".encode("utf-16-le"), "it is UTF-16"),
        (
            "name\nfür\n".encode("latin-1"),
            r", line 2: .*0xfc.*Latin-1 or Windows-1252, as Excel's 'CSV'",
        ),
    ],
)
def test_other_encodings_are_named(tmp_path, content, problem):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"t\.csv.*{problem}.* Mend it\."):
        read_text(tmp_path / "t.csv", "none", "Mend it.")


def test_text_is_read_with_and_without_byte_order_mark(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "t.csv").write_text("für\r\n", encoding=encoding, newline="")
        assert read_text(tmp_path / "t.csv", "none", "Mend it.") == "für\r\n"
    with pytest.raises(DataError, match=r"^gone$"):
        read_text(tmp_path / "no.csv", "gone", "Mend it.")
    with pytest.raises(DataError, match=r"cannot be read as text \(.*\)\. Mend it\."):
        read_text(tmp_path, "gone", "Mend it.")
