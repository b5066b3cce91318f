"""Compares runs of one family: scores, settings that differ, learning curves.

python -m common.cli.compare RUN RUN ... [--line LABEL] [--markdown] [--out FILE.html|csv|png]
"""

from collections.abc import Sequence
from pathlib import Path

from common.cli.base import base_parser, run_safely
from common.io import terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    description = "Compares scores, settings and learning curves of runs of one family."
    parser = base_parser(description, settings=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    parser.add_argument("--line", help="label of the line to compare; default: the system's own")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    out = "write a page (.html), table (.csv) or figure (.png)"
    parser.add_argument("--out", type=Path, metavar="FILE", help=out)
    options = parser.parse_args(arguments)
    # Loaded once the arguments are understood, so that --help is there at once.
    from common.io.tables import to_text
    from common.reports.comparison import (
        read_runs,
        score_table,
        setting_table,
        unequal_tests,
        write_comparison,
    )

    runs = read_runs(options.runs, options.line)
    columns = terminal.columns()
    print(to_text(score_table(runs), options.markdown, columns))
    for sentence in unequal_tests(runs):
        print(f"\nWarning: {sentence}")
    differing = setting_table(runs)
    if len(differing) > 1:
        print("\n" + to_text(differing, options.markdown, columns))
    if options.out:
        write_comparison(options.out, runs)
        print(f"\nWrote {options.out}.")


if __name__ == "__main__":
    raise SystemExit(main())
