"""Downloads the published dataset of a task where a library offers it, after asking.

    python -m common.cli.download TASK [--folder DIR] [--dry-run] [--yes]

Names, sources and sizes are shown first; --dry-run only shows them. Downloaded files are compared
with the checksums that the libraries know.
"""

from collections.abc import Sequence
from pathlib import Path

from common.cli.base import as_called_here, base_parser, params_path, run_safely
from common.datasets.download import describe, fetch_all, needed_bytes, sources_of, with_sizes
from common.settings.tasks import load_task

_GB = 1e9


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments, resumes=True)


def _run(arguments: Sequence[str]) -> None:
    parser = base_parser("Downloads the published dataset of a task, where a library offers it.")
    parser.add_argument("task_id", help="id in params.yaml")
    parser.add_argument("--folder", type=Path, help="target; default: the task's dataset_dir")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be fetched")
    parser.add_argument("--yes", action="store_true", help="fetch without asking")
    options = parser.parse_args(arguments)
    task = load_task(params_path(options.params), options.task_id, options.overrides)
    folder = options.folder or task.dataset_dir
    sources = [with_sizes(source) for source in sources_of(task)]
    print(*map(describe, sources), sep="\n\n")
    fetched = [source for source in sources if source.fetch is not None]
    check = as_called_here("python -m common.cli.check_dataset")
    if not fetched:
        print(f"\nNo library offers this: fetch it by hand into {folder}/, then `{check}`.")
        return
    unknown = any(package.n_bytes is None for source in fetched for package in source.packages)
    more = " or more (some sizes are not known)" if unknown else ""
    size = f"{needed_bytes(fetched) / _GB:.1f} GB{more}"
    print(f"\nInto {folder}/: {size}, archives included.", flush=True)
    if options.dry_run or not (options.yes or _agrees()):
        print("Nothing was fetched.")
        return
    fetch_all(fetched, folder)
    print(f"Done. Now: {check} {options.task_id} --set dataset_dir={folder}")


def _agrees() -> bool:
    """Asks for consent; the end of standard input is a no."""
    try:
        return input("Fetch it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
