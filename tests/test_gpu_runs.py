"""The benchmark of whole runs: tiny ones on the CPU, the GPU played by a script."""

import contextlib
import itertools
import json
import time
from argparse import Namespace

import pytest

from benchmarks import gpu_runs, gpu_sampler
from benchmarks.gpu_sampler import GpuSampler, GpuUse, gpu_names, gpu_use
from benchmarks.measure import Figure, pivot_table
from common.errors import ConfigError
from common.settings.tasks import RunConfig
from tests.forks import server
from tests.patience import wait_until

OPTIONS = {
    "tasks": ["seldnet-foa", "two-stage"],
    "preset": None,
    "epochs": [],
    "iterations": [],
    "backend": "jax",
    "overrides": [],
    "quick": False,
}


def options(**changes):
    return Namespace(**{**OPTIONS, **changes})


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Returns a function that replaces nvidia-smi by a script that prints a text."""

    def install(text, status=0):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        script = folder / "nvidia-smi"
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return install


@pytest.fixture
def no_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    """Files of a quick run: figures, tables, and its folder."""
    folder, start = tmp_path_factory.mktemp("gpu"), gpu_runs._start

    def start_or_fork(command):
        if command[0] == gpu_runs.PROGRAMS["simulation"]:
            start(command)
        else:  # these would import the backend again, for most of their time
            server("jax").run(command, folder / "log.txt")

    markdown, result = folder / "table.md", folder / "result.json"
    markdown.write_text("before\n<!-- gpu_runs:begin -->\nearlier\n<!-- gpu_runs:end -->\nafter\n")
    files = ["--folder", str(folder), "--markdown", str(markdown), "--json", str(result)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_runs, "_start", start_or_fork)
        gpu_runs.main(["--quick", "--tasks", "two-stage", "--set", "parallel.jobs=1", *files])
    return json.loads(result.read_text()), markdown.read_text(), folder


def test_a_system_is_trained_and_scored_for_one_fold(quick_run):
    result, _, folder = quick_run
    assert [
        path.name for path in (folder / "fixture" / "output" / "two-stage_jax").glob("fold*")
    ] == ["fold1"]
    lines = result["scores"]["two-stage"]
    assert list(lines) == ["trained", "always silent", "published, real recordings"]
    assert lines["always silent"]["er"] == 1.0 and 0 <= lines["trained"]["frame_recall"] <= 1


def test_each_stage_has_its_times(quick_run):
    values = {figure["name"]: figure["value"] for figure in quick_run[0]["figures"]}
    for stage in ("two-stage, sed", "two-stage, doa"):
        assert values[f"{stage}: epochs"] == 2 and values[f"{stage}: iterations"] == 4
        assert values[f"{stage}: one step"] > 0 and values[f"{stage}: scores after an epoch"] > 0
        assert values[f"{stage}: examples"] == pytest.approx(
            2 / (values[f"{stage}: one step"] / 1000)
        )
    assert values["two-stage: simulation"] > 0 and values["two-stage: extraction"] > 0


def test_the_tables_are_between_markers_and_name_the_device(quick_run):
    text = quick_run[1]
    assert text.startswith("before\n<!-- gpu_runs:begin -->\nSystems at")
    assert text.endswith("<!-- gpu_runs:end -->\nafter\n")
    assert "earlier" not in text and "Backend jax, on the CPU as requested." in text
    assert "| two-stage | published, real recordings | 0.149 | 91.6 % |" in text
    assert (
        "    python -m benchmarks.gpu_runs --backend jax --tasks two-stage --quick --set"
        " parallel.jobs=1\n" in text
    )


def test_a_file_without_table_markers_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_runs, "measure", None)
    (tmp_path / "table.md").write_text("no markers")
    with pytest.raises(ValueError, match="gpu_runs:begin"):
        gpu_runs.main(["--markdown", str(tmp_path / "table.md")])


def test_system_has_its_published_size_and_one_fold_by_default(tmp_path):
    task = gpu_runs.make_plan("two-stage", options(), tmp_path).task
    assert task.simulation.preset == "gpu" and task.run.backend == "jax" and len(task.folds) == 1
    assert task.network == {"mode": "two_stage", "architecture": "crnn10", "pooling": "average"}
    assert task.training.epochs == 275 and task.training.iterations_per_epoch == 200


def test_limits_hold_for_all_tasks_or_for_the_one_named(tmp_path):
    limited = options(epochs=["7", "two-stage=9"], iterations=["seldnet-foa=3"])
    first, second = (
        gpu_runs.make_plan(task_id, limited, tmp_path).task.training
        for task_id in ("seldnet-foa", "two-stage")
    )
    assert (first.epochs, second.epochs) == (7, 9)
    assert (first.iterations_per_epoch, second.iterations_per_epoch) == (3, 200)


def test_a_limit_of_a_task_not_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Received: 'two-stag=9'"):
        gpu_runs.make_plan("seldnet-foa", options(epochs=["two-stag=9"]), tmp_path)


def test_a_task_of_another_family_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Received: 'cnn9', of sed_task4"):
        gpu_runs.make_plan("cnn9", options(), tmp_path)


def test_recordings_and_features_do_not_depend_on_training_limits(tmp_path):
    settings = ["features.hop_s=0.01", "training.learning_rate=0.1"]
    plans = [
        gpu_runs.make_plan("seldnet-foa", options(epochs=[n], overrides=settings), tmp_path)
        for n in ("2", "3")
    ]
    for step in gpu_runs.DATA_STEPS:
        first, second = (plan.command(step) for plan in plans)
        assert first == second
        assert "features.hop_s=0.01" in first
        assert "training.learning_rate=0.1" not in first
    assert "training.learning_rate=0.1" in plans[0].command("training")


def test_the_time_of_an_interrupted_step_does_not_count(tmp_path, monkeypatch):
    steps = tmp_path / "steps.json"

    def killed(command):
        raise KeyboardInterrupt

    for command, starts in (("whole", [str]), ("parts", [killed, str])):
        for start in starts:
            monkeypatch.setattr(gpu_runs, "_start", start)
            with contextlib.suppress(KeyboardInterrupt):
                gpu_runs._timed(steps, [command])
    noted = json.loads(steps.read_text())
    assert noted["whole"]["seconds"] > 0 and noted["parts"] == {"finished": True, "seconds": None}
    monkeypatch.setattr(gpu_runs, "_start", killed)
    gpu_runs._timed(steps, ["whole"])  # is not started again


def test_the_step_time_is_the_median_without_the_first_epoch():
    history = {"training_s": [100.0, 4.0, 6.0, 5.0], "scoring_s": [9.0, 2.0, 2.0, 3.0]}
    record = {"epochs": 4, "iterations_per_epoch": 50, "history": history}
    values = {figure.name: figure.value for figure in gpu_runs._time_figures("1, seld", record, 16)}
    assert values["1, seld: one step"] == pytest.approx(100.0)  # 5 s by 50
    assert values["1, seld: examples"] == pytest.approx(160.0)
    assert values["1, seld: scores after an epoch"] == 2.0
    assert values["1, seld: in all"] == pytest.approx(131 / 60)


def test_the_current_stage_has_begun_since_and_is_not_finished(tmp_path):
    since_s = time.time() - 1
    for stage in ("sed", "doa"):
        assert gpu_runs.stage_under_way(tmp_path, since_s) is None
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "history.csv").touch()
        assert gpu_runs.stage_under_way(tmp_path, since_s) == stage
        assert gpu_runs.stage_under_way(tmp_path, since_s + 100) is None  # left by a killed job
        (tmp_path / stage / "training.json").touch()


def test_samples_are_kept_by_stage_also_of_a_killed_job(tmp_path, smi):
    path = tmp_path / "gpu.csv"
    path.write_text("sed,50.0,1000.0\n")
    smi("30, 2000\n70, 500")  # two GPUs: the busiest counts
    with GpuSampler(path, lambda: "sed", interval_s=0.01):
        wait_until(lambda: path.read_text().count("\n") >= 2)
    path.write_text(
        "".join(path.read_text().splitlines(keepends=True)[:2]) + "doa,100.0,3000.0\nsed,9"
    )
    use = gpu_use(path, "sed")
    assert use == GpuUse(
        mean_percent=60.0, peak_percent=70.0, mean_gb=1500 * 2**20 / 1e9, peak_gb=2000 * 2**20 / 1e9
    )
    assert gpu_use(path, "seld") is None


def test_values_that_the_driver_does_not_give_are_left_out(tmp_path, smi):
    smi("[N/A], 2000")
    asked = itertools.count()
    sampler = GpuSampler(tmp_path / "gpu.csv", lambda: f"sed{next(asked)}", interval_s=0.01)
    with sampler:
        wait_until(lambda: next(asked) > 4)  # this asks, too
    assert not (tmp_path / "gpu.csv").exists()


@pytest.mark.usefixtures("no_smi")
def test_without_nvidia_smi_nothing_is_sampled_and_report_notes_it(tmp_path):
    with GpuSampler(tmp_path / "gpu.csv", lambda: "sed", interval_s=0.01):
        time.sleep(0.05)
    assert gpu_use(tmp_path / "gpu.csv", "sed") is None and gpu_sampler.query("name") == []
    assert (
        gpu_runs.device_text(RunConfig(backend="jax"))
        == "Backend jax, on the CPU: no GPU found: nvidia-smi is missing or names none."
    )


def test_a_failing_nvidia_smi_means_no_gpu(smi):
    smi("No devices were found", status=6)
    assert gpu_names() == ""


def test_a_backend_that_does_not_see_the_gpu_is_refused(smi, monkeypatch):
    smi("NVIDIA H200, 143771, 580.159")
    monkeypatch.setattr(gpu_runs, "_devices", lambda backend: "cpu:0")
    with pytest.raises(
        ConfigError, match=r"Expected: NVIDIA H200, 143771 MiB, driver 580.159. Received: cpu:0"
    ):
        gpu_runs.device_text(RunConfig(backend="jax"))
    monkeypatch.setattr(gpu_runs, "_devices", lambda backend: "gpu:0")
    assert (
        gpu_runs.device_text(RunConfig(backend="jax"))
        == "Backend jax, on gpu:0: NVIDIA H200, 143771 MiB, driver 580.159."
    )


def test_the_devices_of_the_backend_are_queried():
    assert gpu_runs._devices("jax").startswith("cpu:0")


def test_cells_that_a_row_lacks_are_dashes():
    figures = [
        Figure("a: time", 1.5, "s"),
        Figure("b: epochs", 1234, ""),
        Figure("b: time", 2.0, "s"),
    ]
    assert pivot_table(figures, "run").splitlines()[2:] == ["| a | 1.5 | - |", "| b | 2 | 1,234 |"]
