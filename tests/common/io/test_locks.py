"""One job at a time in a folder."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.errors import DataError
from common.io.locks import LOCK, only_one

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys
from pathlib import Path
from common.io.locks import only_one
with only_one(Path(sys.argv[1]), "wait"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that works in the folder."""
    call = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(
        call, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_job_gets_the_holder_and_a_remedy(tmp_path, holder):
    with pytest.raises(DataError) as error, only_one(tmp_path, "use another job id"):
        pass
    message = str(error.value)
    assert f"process {holder.pid} on {os.uname().nodename}, since 20" in message
    assert str(tmp_path) in message and "use another job id" in message


def test_a_killed_job_leaves_the_folder_free(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / LOCK).exists()  # it could not clean up
    with only_one(tmp_path, "wait"):
        assert f"process {os.getpid()} " in (tmp_path / LOCK).read_text()
    assert not list(tmp_path.iterdir())


def test_an_error_inside_leaves_the_folder_free(tmp_path):
    with pytest.raises(ZeroDivisionError), only_one(tmp_path, "wait"):
        _ = 1 / 0
    with only_one(tmp_path, "wait"):
        pass


def test_a_folder_in_which_nothing_is_left_is_removed_if_it_was_made(tmp_path):
    with pytest.raises(ValueError, match="refused"), only_one(tmp_path / "new", "wait"):
        raise ValueError("refused")
    with only_one(tmp_path / "kept", "wait"):
        (tmp_path / "kept" / "a.txt").touch()
    with only_one(tmp_path, "wait"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_the_folder_is_made(tmp_path):
    with only_one(tmp_path / "new" / "run", "wait"):
        assert (tmp_path / "new" / "run" / LOCK).exists()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"Cannot write .*file"),
        only_one(tmp_path / "file" / "run", "wait"),
    ):
        pass


def test_never_are_two_inside_while_lock_files_and_the_folder_come_and_go(tmp_path):
    inside, most, entered = [], [], []

    def work():
        for _ in range(300):
            try:
                with only_one(tmp_path / "new", "wait"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    entered.append(1)
            except DataError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1 and len(entered) > 10 and not list(tmp_path.glob("new/*"))


def test_a_lock_of_any_content_is_quoted_in_part(tmp_path):
    with only_one(tmp_path, "wait"):
        (tmp_path / LOCK).write_bytes(b"\xff" * 100_000)
        with pytest.raises(DataError) as error, only_one(tmp_path, "wait"):
            pass
    assert len(str(error.value)) < 1000


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "outside.txt").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "outside.txt")
    with pytest.raises(DataError, match="Cannot write"), only_one(tmp_path / "run", "wait"):
        pass
    assert (tmp_path / "outside.txt").read_text() == "kept"
