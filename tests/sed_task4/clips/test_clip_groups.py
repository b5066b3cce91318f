"""Clips of one source: held out together, in no two subsets, with one verdict of all commands."""

import json
import logging
import random
from pathlib import Path

import numpy as np
import pytest

from common.audio.files import write_wav
from common.cli.check_dataset import check_dataset
from common.cli.extract import main as extract
from common.errors import CheckpointError, DataError
from common.settings.tasks import load_task
from sed_task4.cli import main
from sed_task4.clips.clip_groups import (
    ClipSources,
    describe_hold_out,
    draw_validation,
    hold_out,
    subset_problems,
)
from sed_task4.clips.training_sets import read_split
from sed_task4.config import SetsConfig
from sed_task4.dataset import DatasetConfig, find_clips, parse_groups
from sed_task4.experiment import stored_sources
from sed_task4.extraction import open_store, run
from tests.sed_task4.test_extraction import CNN, Task

PARAMS = Path(__file__).parents[3] / "params.yaml"
RATE = 16000


def shares_no_source(sources: ClipSources, held_out: list[str]) -> bool:
    held = {sources.source(name) for name in held_out}
    return not held & {sources.source(name) for name in sources.groups if name not in set(held_out)}


@pytest.mark.parametrize("seed", range(25))
def test_no_source_of_random_clips_both_trains_and_validates(seed):
    draw = random.Random(seed)
    names = [f"{number}.wav" for number in range(60)]
    groups = {name: f"g{draw.randint(0, 25)}" for name in names}
    tags = {name: draw.sample(["a", "b", "c"], draw.randint(0, 2)) for name in names}
    sources = ClipSources("weak", groups)
    held_out = hold_out(sources, tags, 0.2, seed, "weak.tsv")
    assert shares_no_source(sources, held_out) and 6 <= len(held_out) <= 18
    assert {tag for name in held_out for tag in tags[name]} == {"a", "b", "c"}
    shuffled = dict(draw.sample(sorted(groups.items()), len(groups)))
    assert hold_out(ClipSources("weak", shuffled), tags, 0.2, seed, "") == held_out


@pytest.mark.parametrize(
    "names", [["a.wav", "b.wav", "c.wav"], [f"Y{n}abc-_x_30.000_40.000.wav" for n in range(40)]]
)
def test_clips_that_nothing_joins_are_drawn_as_before(names):
    sources = ClipSources("weak", dict.fromkeys(names))
    assert hold_out(sources, {}, 0.2, 3, "") == draw_validation(names, 0.2, 3)
    assert (
        f"{len(names)} clips of {len(names)} sources by the ids" in describe_hold_out(sources, [])
        or len(names) == 3
    )


def test_clips_of_one_video_are_held_out_together():
    names = [f"Yvideo{number // 4}_{number % 4}0.000_{number}5.000.wav" for number in range(40)]
    sources = ClipSources("weak", dict.fromkeys(names))
    held_out = hold_out(sources, {name: ["a"] for name in names}, 0.2, 0, "")
    assert len(held_out) == 8 and shares_no_source(sources, held_out)
    assert describe_hold_out(sources, held_out).endswith(
        "40 clips of 10 sources by the ids in their names; 2 source(s), 8 clip(s), validate."
    )


def test_without_a_column_group_one_line_is_logged():
    line = describe_hold_out(ClipSources("weak", {"a.wav": None, "b.wav": None}), ["a.wav"])
    assert (
        line.startswith("weak: no column group, every clip is taken for a source of its own")
        and "\n" not in line
    )


def test_a_class_of_one_source_cannot_train_and_validate():
    sources = ClipSources("weak", {"a.wav": "g", "b.wav": "h", "c.wav": "h"})
    tags = {"a.wav": ["Cat"], "b.wav": ["Cat"], "c.wav": ["Dog"]}
    message = (
        r"weak.tsv: .*2 groups or more.*Dog has 1 group\(s\) \(h with 1.*validation_fraction: 0"
    )
    with pytest.raises(DataError, match=message):
        hold_out(sources, tags, 0.2, 0, "weak.tsv")
    with pytest.raises(DataError, match=r"all 2 clips are of one source, 'g'"):
        hold_out(ClipSources("weak", {"a.wav": "g", "b.wav": "g"}), {}, 0.2, 0, "weak.tsv")


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("filename\tevent_labels\na.wav\tCat\n", {}),
        (
            "filename\tevent_labels\tgroup\na.wav\tCat\tg\nb.wav\tDog\t h \n",
            {"a.wav": "g", "b.wav": "h"},
        ),
        ("group\tfilename\ng\ta.wav\n", {"a.wav": "g"}),
        (
            "filename\tonset\toffset\tevent_label\tgroup\na.wav\t0\t1\tCat\tg\na.wav\t1\t2\tCat\tg\n",
            {"a.wav": "g"},
        ),
    ],
)
def test_the_column_group_is_read_from_every_kind_of_table(text, groups):
    assert parse_groups(text) == groups


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename\tgroup\na.wav\tg\nb.wav\t\n", r"line 3: expected a group"),
        (
            "filename\tgroup\na.wav\tg\na.wav\th\n",
            r"line 3: expected one group for all rows of a clip",
        ),
    ],
)
def test_a_clip_without_a_group_or_with_two_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        parse_groups(text)


def write_dataset(root: Path, weak: str, validation: str, unlabelled: str = "filename\n") -> Path:
    """Clips of a second for every name in the tables, in the layout of 2019."""
    tables = {
        "train/weak": weak,
        "validation/validation": validation,
        "train/unlabel_in_domain": unlabelled,
    }
    for name, text in tables.items():
        path = root / f"metadata/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        folder = root / "audio" / ("validation" if name.startswith("validation") else name)
        for row in text.splitlines()[1:]:
            file = row.split("\t")[0]
            noise = np.random.default_rng(sum(file.encode())).uniform(-0.1, 0.1, (RATE, 1))
            write_wav(folder / file, noise, RATE)
    return root


WEAK = "filename\tevent_labels\tgroup\n" + "".join(
    f"w{n}.wav\t{'ab'[n % 2]}\tg{n // 4}\n" for n in range(12)
)
VALIDATION = "filename\tonset\toffset\tevent_label\tgroup\nv1.wav\t0\t1\ta\tv\nv2.wav\t0\t1\tb\tv\n"
SETTINGS = (
    "dataset={classes: [a, b], sample_rate_hz: 16000, clip_s: 1.0}",
    "parallel.jobs=1",
    "features.fmax_hz=8000",
)
HOLD_OUT = "sets={validate_on: null, validation_fraction: 0.3}"


def options(root: Path, *overrides: str) -> list[str]:
    folders = [
        f"{name}_dir={root / place}"
        for name, place in (("dataset", ""), ("feature", "f"), ("output", "o"))
    ]
    settings = [*SETTINGS, *folders, *overrides]
    return ["--params", str(PARAMS), *(part for setting in settings for part in ("--set", setting))]


@pytest.mark.parametrize(
    ("weak", "validation", "overrides", "message"),
    [
        (
            WEAK,
            VALIDATION.replace("\tv\n", "\tg1\n"),
            (),
            "'g1' in weak (w4.wav) and in validation (v1.wav)",
        ),
        (
            WEAK.replace("\tb\tg1", "\ta\tg1").replace("\tb\tg2", "\ta\tg2"),
            VALIDATION,
            (HOLD_OUT,),
            "b has 1 group(s) (g0 with 2 file(s)), none for validation",
        ),
    ],
)
def test_checker_extraction_and_training_give_the_same_verdict(
    tmp_path, capsys, weak, validation, overrides, message
):
    root = write_dataset(tmp_path, weak, validation)
    task = load_task(PARAMS, "cnn9", options(root, *overrides)[3::2])
    errors = [each.text for each in check_dataset(task).findings if each.level == "error"]
    assert len(errors) == 1 and message in errors[0]
    for command in (
        lambda: extract(["cnn9", *options(root, *overrides)]),
        lambda: main(["cnn9", "a", *options(root, *overrides)]),
    ):
        capsys.readouterr()
        assert command() == 2
        assert f"error: {errors[0]}" in capsys.readouterr().err
    assert not (tmp_path / "o").exists() or not any(tmp_path.glob("o/*/cnn"))


def test_training_refuses_features_that_were_extracted_without_the_check(tmp_path):
    root = write_dataset(tmp_path, WEAK, VALIDATION.replace("\tv\n", "\tg1\n"))
    dataset = DatasetConfig(classes=("a", "b"), sample_rate_hz=RATE, clip_s=1.0)
    task = Task(root, tmp_path / "features", dataset=dataset, features=CNN)
    run(task, ["weak", "validation"], progress=False)
    sources = {
        name: stored_sources(open_store(task, name), name) for name in ("weak", "validation")
    }
    assert {name: each.groups for name, each in sources.items()} == {
        name: {clip.name: clip.group for clip in find_clips(root, dataset, name)[0]}
        for name in sources
    }
    (problem,) = subset_problems(SetsConfig(), sources, "features")
    assert "1 group(s) are in two splits" in problem and "'g1'" in problem


def test_groups_are_counted_and_do_not_change_the_shards(tmp_path):
    root = write_dataset(tmp_path, WEAK, VALIDATION)
    task = load_task(PARAMS, "cnn9", options(root, HOLD_OUT)[3::2])
    report = check_dataset(task)
    assert report.usable
    (table,) = [each for each in report.tables if each.title.startswith("groups")]
    assert table.rows == [["a", "3", "1"], ["b", "3", "1"], ["all", "3", "1"]]
    dataset = DatasetConfig(classes=("a", "b"), sample_rate_hz=RATE, clip_s=1.0)
    prints = []
    for weak in (WEAK, "\n".join(line.rsplit("\t", 1)[0] for line in WEAK.splitlines())):
        (root / "metadata/train/weak.tsv").write_text(weak)
        features = tmp_path / f"features{len(prints)}"
        prints.append(
            run(Task(root, features, dataset=dataset), ["weak"], progress=False)[0].fingerprint
        )
    assert prints[0] == prints[1]


def test_videos_in_two_published_subsets_are_logged_and_kept(caplog):
    names = {"weak": "Yab_1.000_2.000.wav", "validation": "Yab_3.000_4.000.wav"}
    sources = {subset: ClipSources(subset, {name: None}) for subset, name in names.items()}
    with caplog.at_level(logging.WARNING):
        assert subset_problems(SetsConfig(), sources, "here") == []
    assert "1 video(s) in common, by their names, such as ab" in caplog.text


def test_a_stored_draw_that_divides_a_source_is_refused(tmp_path):
    (tmp_path / "split.json").write_text('{"validation": ["b.wav"]}')
    sources = ClipSources("weak", {"a.wav": "g", "b.wav": "g", "c.wav": "h"})
    with pytest.raises(CheckpointError, match=r"1 source\(s\), such as 'g'.*another job id"):
        read_split(tmp_path / "split.json", list(sources.groups), sources)


def test_a_run_holds_out_sources_and_learns_nothing_of_theirs(tmp_path, caplog):
    unlabelled = "filename\tgroup\n" + "".join(f"u{n}.wav\tg{n % 4}\n" for n in range(8))
    root = write_dataset(tmp_path, WEAK, VALIDATION, unlabelled)
    small = (
        "sets={train: weak, unlabelled: unlabel_in_domain, test: [validation], statistics: [weak]}",
        "sets.validation_fraction=0.3",
        "dataset.layout=dcase2019",
        "pipeline.batch_size=2",
        "pipeline.sequence_frames=50",
        "network.n_filters=4",
        "network.gru_units=[4]",
        "training.epochs=1",
        "second_pass.epochs=1",
        "second_pass.batch_size=2",
        "scoring.sed_eval=false",
    )
    with caplog.at_level(logging.INFO):
        assert main(["crnn", "a", *options(root, *small)]) == 0
    assert (
        "weak: 12 clips of 3 sources by the column group; 1 source(s), 4 clip(s), validate."
        in caplog.messages
    )
    assert (
        "Groups of clips of one source: weak 3, unlabel_in_domain 4, validation 1."
        in caplog.messages
    )
    assert any(
        line.startswith("unlabel_in_domain: 2 clip(s) are left out") for line in caplog.messages
    )
    run_folder = tmp_path / "o" / "crnn_a"
    held_out = json.loads((run_folder / "validation_split.json").read_text())["validation"]
    (group,) = {f"g{int(name[1:-4]) // 4}" for name in held_out}
    learned = (run_folder / "pass2/pseudo_labels/tags.tsv").read_text().splitlines()[1:]
    names = [line.split("\t")[0] for line in learned]
    assert sorted(names) == sorted(f"u{n}.wav" for n in range(8) if f"g{n % 4}" != group)
