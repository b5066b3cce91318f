"""Nothing in a file is run as code, and no name in a file leads out of its folder."""

import ast
import json
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from common.data.feature_store import MANIFEST, FeatureStore
from common.errors import CheckpointError, ConfigError, DataError
from common.io.archives import read_arrays
from common.io.files import is_file_name, write_text
from common.io.safe_yaml import read_yaml
from common.models.saving import load_model
from common.settings.folds import FoldConfig
from common.training.evaluation import predict_recordings
from sed_task4 import dataset as task4
from sed_task4.segmentation import dataset as segmentation
from tests.fuzz.damage import yaml_bomb, zip_bomb, zip_of
from tests.fuzz.models import valid_model
from tests.fuzz.stores import valid_store

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for place in ("common", "seld", "sed_task4", "benchmarks")
    for path in (ROOT / place).rglob("*.py")
) + sorted(ROOT.glob("*.py"))

UNPICKLING = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "jsonpickle",
}
CODE = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "builtins.eval",
    "builtins.exec",
    "runpy.run_path",
    "code.interact",
}
UNSAFE_YAML = {
    f"yaml.{name}"
    for name in (
        "load",
        "load_all",
        "full_load",
        "full_load_all",
        "unsafe_load",
        "unsafe_load_all",
        "Loader",
        "CLoader",
        "FullLoader",
        "CFullLoader",
        "UnsafeLoader",
        "CUnsafeLoader",
    )
}
SHELLS = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "commands.getoutput",
}
PICKLED_FILES = {"joblib.load", "joblib.dump", "pandas.read_pickle"}
DOWNLOADS = {"urllib.request", "requests", "httpx", "wget", "ftplib", "http.client", "aiohttp"}
# A call, the keyword that it needs, and the values that will do; None: any.
NEEDED = {
    "numpy.load": ("allow_pickle", {"False"}),
    "keras.saving.load_model": ("safe_mode", {"True"}),
    "keras.models.load_model": ("safe_mode", {"True"}),
    "torch.load": ("weights_only", {"True"}),
    "keras.utils.get_file": ("file_hash", None),
    "pooch.retrieve": ("known_hash", None),
}
UNSAFE_KEYWORDS = {"allow_pickle=True", "safe_mode=False", "weights_only=False", "shell=True"}


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Full dotted name of each imported name."""
    names = {"np": "numpy", "pd": "pandas", "tf": "tensorflow"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots = {
                alias.name.split(".")[0]: alias.name.split(".")[0]
                for alias in node.names
                if not alias.asname
            }
            names |= roots | {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    return names


def _full_name(node: ast.expr, aliases: dict[str, str]) -> str:
    root, dot, rest = ast.unparse(node).partition(".")
    return aliases.get(root, root) + dot + rest


def _imported(node: ast.AST) -> list[str]:
    """Modules that a statement or a call of import_module loads."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    if (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("import_module")
        and node.args
    ):
        return [node.args[0].value] if isinstance(node.args[0], ast.Constant) else []
    return []


def problems(source: str) -> Iterator[str]:
    """Lists what a module must not do, by line."""
    tree = ast.parse(source)
    asks_only = (
        0 < source.count("urlopen(") == source.count('method="HEAD"')
        and "urlretrieve" not in source
    )  # sizes
    aliases, has_hashes = _aliases(tree), "hashlib" in source or asks_only
    for node in ast.walk(tree):
        where = f"line {getattr(node, 'lineno', 0)}: "
        for name in _imported(node):
            if name.split(".")[0] in UNPICKLING:
                yield f"{where}import of {name}"
            if (
                any(name == each or name.startswith(f"{each}.") for each in DOWNLOADS)
                and not has_hashes
            ):
                yield f"{where}download without a hash: {name}"
        if isinstance(node, ast.Attribute | ast.Name) and _full_name(node, aliases) in UNSAFE_YAML:
            yield f"{where}unsafe YAML: {ast.unparse(node)}"
        if isinstance(node, ast.Call):
            yield from (where + problem for problem in _problems_of_call(node, aliases))


def _problems_of_call(call: ast.Call, aliases: dict[str, str]) -> Iterator[str]:
    name = _full_name(call.func, aliases)
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg}
    if name in CODE | SHELLS | PICKLED_FILES | {"tempfile.mktemp"} or name.endswith(".to_pickle"):
        yield f"call of {name}"
    if name.endswith(".extractall") and "filter" not in keywords:
        yield "extractall without a filter"
    needed, values = NEEDED.get(name, (None, None))
    if needed and (
        keywords.get(needed, "None") == "None" or (values and keywords[needed] not in values)
    ):
        yield f"{name} without {needed}"
    for keyword, value in keywords.items():
        if f"{keyword}={value}" in UNSAFE_KEYWORDS:
            yield f"{keyword}={value}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_executes_its_input(path):
    with tokenize.open(path) as file:
        assert list(problems(file.read())) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from dill import load",
        "import importlib\nimportlib.import_module('marshal')",
        "eval('1')",
        "exec(text)",
        "compile(text, 'x', 'exec')",
        "import builtins as b\nb.eval('1')",
        "import yaml\nyaml.load(text, yaml.SafeLoader)",
        "import yaml as y\nL = y.Loader",
        "from yaml import unsafe_load\nunsafe_load(text)",
        "from yaml import UnsafeLoader as L\nL(text)",
        "import numpy as np\nnp.load(path)",
        "from numpy import load\nload(path, mmap_mode='r')",
        "import numpy\nnumpy.load(p, allow_pickle=True)",
        "import keras\nkeras.saving.load_model(path)",
        "from keras.models import load_model as f\nf(p, compile=False)",
        "import keras\nkeras.saving.load_model(path, safe_mode=False)",
        "torch.load(path)",
        "import torch as t\nt.load(path, weights_only=False)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import os\nos.system('ls')",
        "from os import popen\npopen('ls')",
        "archive.extractall(folder)",
        "import tempfile\ntempfile.mktemp()",
        "import urllib.request",
        "from urllib.request import urlretrieve",
        "import requests",
        "import keras\nkeras.utils.get_file('x', 'http://x')",
        "import joblib\njoblib.load(path)",
        "import pandas as pd\npd.read_pickle(path)",
        "frame.to_pickle(path)",
        "__import__('os')",
    ],
)
def test_each_rule_bites(planted):
    assert list(problems(planted))


@pytest.mark.parametrize(
    "harmless",
    [
        "import re\nre.compile('x')",
        "model.compile(optimizer='adam')",
        "import yaml\nyaml.safe_load(text)",
        "import yaml\nclass Strict(yaml.SafeLoader): pass",
        "import numpy as np\nnp.load(p, allow_pickle=False)",
        "from common.models.saving import load_model\nload_model(path)",
        "torch.load(path, weights_only=True)",
        "import subprocess\nsubprocess.run(['ls'])",
        "archive.extractall(folder, filter='data')",
        "import hashlib, urllib.request",
        'import urllib.request as r\nr.urlopen(r.Request(url, method="HEAD"))',
        "from urllib.parse import quote",
        "model.eval()",
    ],
)
def test_harmless_code_passes_the_rules(harmless):
    assert list(problems(harmless)) == []


ODD_NAMES = [
    "../x",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "..",
    ".",
    "a\\b",
    "..\\x",
    "C:\\x",
    "a\0b",
    "a\nb",
    "",
]


@pytest.mark.parametrize("name", [*ODD_NAMES, "a\tb", "\ud800", "a\u2028b", "x" * 256, None, 3])
def test_paths_out_of_a_folder_are_no_file_names(name):
    assert not is_file_name(name)


@pytest.mark.parametrize(
    "name", ["a.wav", "..a", "Grüße 音.wav", "e\u0301.wav", ".hidden", 'it\'s "so".wav', "a\u3000b"]
)
def test_names_of_any_language_are_file_names(name):
    assert is_file_name(name)


STRONG = "filename\tonset\toffset\tevent_label\nok.wav\t0\t1\tDog\n{}\t0\t1\tDog\n"
METADATA = {  # file -> text with a place for a name, and the subset
    "metadata/train/weak.tsv": ("filename\tevent_labels\nok.wav\tDog\n{}\tDog\n", "weak"),
    "metadata/train/synthetic.tsv": (STRONG, "synthetic"),
    "metadata/train/unlabel_in_domain.tsv": ("filename\nok.wav\n{}\n", "unlabel_in_domain"),
}
ONE_LINE = [name for name in ODD_NAMES if name and "\n" not in name]


@pytest.mark.parametrize("name", ONE_LINE)
@pytest.mark.parametrize("place", METADATA)
def test_metadata_of_task_4_cannot_lead_out_of_their_folder(tmp_path, place, name):
    text, subset = METADATA[place]
    write_text(tmp_path / place, text.format(name))
    message = "(expected the name of a file without folders|a NUL character)"
    with pytest.raises(DataError, match=rf"{Path(place).name}, line 3: {message}"):
        task4.find_clips(tmp_path, task4.DatasetConfig(), subset)


@pytest.mark.parametrize("name", ONE_LINE)
def test_segmentation_tables_and_lists_cannot_lead_out_of_their_folder(tmp_path, name):
    dataset = segmentation.DatasetConfig(classes=("Bark",))
    sounds = tmp_path / "dcase2018_task2/train.csv"
    scenes = tmp_path / dataset.scenes_dir / "meta.csv"
    write_text(sounds, f"fname,label,manually_verified\nok.wav,Bark,1\n{name},Bark,1\n")
    with pytest.raises(
        DataError, match=r"train\.csv, line 3: (expected the name of a file|a NUL character)"
    ):
        segmentation.read_event_sounds(tmp_path, dataset)
    for scene in (f"audio/{name}", name, f"../{name}"):
        write_text(scenes, f"filename\tscene_label\naudio/ok.wav\tpark\n{scene}\tpark\n")
        with pytest.raises(
            DataError, match=r"meta\.csv, line 3: (expected filename audio/<name>|a NUL character)"
        ):
            segmentation.read_scene_names(tmp_path, dataset)
    event = {"event_audio_name": "a.wav", "event_label": "Bark", "onset": 0.5, "offset": 2.5}
    mixture = {
        "mixture_name": "0.wav",
        "fold": 1,
        "scene_audio_name": "park.wav",
        "events": [event],
    }
    for entry in (
        mixture | {"mixture_name": name},
        mixture | {"scene_audio_name": name},
        mixture | {"events": [event | {"event_audio_name": name}]},
    ):
        (tmp_path / "list.yaml").write_text(
            json.dumps([mixture | {"mixture_name": "1.wav"}, entry])
        )
        with pytest.raises(
            DataError, match=r"list\.yaml, entry 2.*expected the name of a file without folders"
        ):
            segmentation.read_mixture_list(tmp_path / "list.yaml", tmp_path / "audio", dataset)


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("key", ["file", "names"])
def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path, key, name):
    for file, content in valid_store().items():
        (tmp_path / file).write_bytes(content)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["shards"][0][key] = (
        name if key == "file" else [name, *manifest["shards"][0]["names"][1:]]
    )
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"Damaged manifest: .*manifest\.json"):
        FeatureStore.open(tmp_path)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_record_names_that_become_files_stay_in_the_folder(name):
    class Network:
        def predict_on_batch(self, features):
            return {"sed": features[..., 0]}

    element = {
        "name": np.array(name.encode(), object),
        "features": np.zeros((1, 4, 2, 1)),
        "targets": {},
        "events": [],
        "labelled": 1,
        "frames": 4,
        "sequence_frames": 4,
    }
    with pytest.raises(DataError, match="Damaged shard: a record has the name"):
        list(predict_recordings(Network(), [element]))


@pytest.mark.parametrize("name", ["..", ".", "../x", "a/b", ".hidden", ""])
def test_fold_names_cannot_lead_out_of_the_run(name):
    with pytest.raises(ValueError, match="name"):
        FoldConfig(name=name, train=(1,), validate_on=(2,), test=(3,))


@pytest.mark.parametrize("name", ["../Bark", "a/b", "..", "a\\b"])
def test_class_names_that_become_sound_files_stay_in_the_folder(name):
    with pytest.raises(ValueError, match="names of classes"):
        segmentation.DatasetConfig(classes=("Bark", name))


def test_writing_replaces_a_link_and_never_follows_it(tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/scores.txt").symlink_to(outside)
    write_text(tmp_path / "run/scores.txt", "new")
    assert outside.read_text() == "kept" and (tmp_path / "run/scores.txt").read_text() == "new"
    assert not (tmp_path / "run/scores.txt").is_symlink()


def _with_layer(layer: dict) -> bytes:
    """The valid model whose dense layer is another."""
    members = _members()
    config = json.loads(members["config.json"])
    inner = next(each for each in config["config"]["layers"] if each["class_name"] == "Functional")
    inner["config"]["layers"][-1] |= layer
    return zip_of(members | {"config.json": json.dumps(config).encode()})


def _members() -> dict[str, bytes]:
    import io

    with zipfile.ZipFile(io.BytesIO(valid_model())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _with_code(path: Path, proof: Path) -> None:
    """A model whose layer runs code when it is called, as Keras itself writes it."""
    inputs = keras.Input((2,))
    code = keras.layers.Lambda(
        lambda x, place=str(proof): (open(place, "w").close(), x)[1], output_shape=(2,)
    )
    model = keras.Model(inputs, code(inputs))
    model.save(path)
    model(np.zeros((1, 2)))
    assert proof.exists()  # it ran, here
    proof.unlink()


EVIL_LAYERS = {
    "a function of the system": {
        "module": "os",
        "class_name": "system",
        "registered_name": None,
        "config": {},
    },
    "a function of Keras": {
        "module": "keras.utils",
        "class_name": "get_file",
        "config": {"origin": "file:///etc/passwd"},
    },
    "a builtin": {"module": "builtins", "class_name": "exec", "config": {"object": "1"}},
    "a table from another file": {
        "module": "keras.layers",
        "class_name": "StringLookup",
        "config": {"vocabulary": str(ROOT / "setup.cfg")},
    },
}
REASONS = {
    "lambda": "nothing in a file is run here",
    "a function of the system": "Could not locate class 'system'",
    "a function of Keras": "not a modeling function",
    "a builtin": "Could not locate class 'exec'",
    "a table from another file": "nothing in a file is run here",
    "../ in a name": "members outside of it",
    "a twin": "twice in it",
    "a bomb": "it would become 1074 MB",
    "pickle": "no zip archive",
    "h5": r"expected a name that ends in \.keras",
}


@pytest.mark.parametrize("kind", REASONS)
def test_a_malicious_model_runs_nothing_and_is_refused(tmp_path, kind):
    path = tmp_path / ("m.h5" if kind == "h5" else "m.keras")
    proof = tmp_path / "proof"
    if kind == "lambda":
        _with_code(path, proof)
    elif kind in EVIL_LAYERS:
        path.write_bytes(_with_layer(EVIL_LAYERS[kind]))
    elif kind == "../ in a name":
        path.write_bytes(zip_of(_members() | {"assets/../../escaped.txt": b"x"}))
    elif kind == "a twin":
        with (
            pytest.warns(UserWarning, match="Duplicate name"),
            zipfile.ZipFile(path, "w") as archive,
        ):
            for name, content in [*_members().items(), ("config.json", b"{}")]:
                archive.writestr(name, content)
    elif kind == "a bomb":
        path.write_bytes(zip_bomb("config.json"))
    else:
        path.write_bytes(
            b"cos\nsystem\n(S'touch proof'\ntR." if kind == "pickle" else valid_model()
        )
    with pytest.raises(
        CheckpointError,
        match=rf"m\.(keras|h5) cannot be loaded as a Keras model: .*{REASONS[kind]}",
    ):
        load_model(path)
    assert not proof.exists() and [each.name for each in tmp_path.iterdir()] == [path.name]


def test_pickled_arrays_are_refused_and_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "proof",))

    np.savez(tmp_path / "a.npz", mean=np.array([Evil()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_arrays(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"\x80\x04\x95")
    with pytest.raises(ValueError, match="no zip archive"):
        read_arrays(tmp_path / "b.npz")
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "a\\b.npy"])
def test_archives_of_arrays_whose_members_lie_outside_are_refused(tmp_path, name):
    (tmp_path / "a.npz").write_bytes(zip_of({name: b""}))
    with pytest.raises(ValueError, match="members outside of it"):
        read_arrays(tmp_path / "a.npz")


def test_archives_that_would_fill_the_memory_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(zip_bomb("mean.npy"))
    with pytest.raises(ValueError, match="it would become 1074 MB"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: &a [*a]", "contains itself"),
        (yaml_bomb(), "aliases stand for"),
        ("!!timestamp x", "NoneType"),
        ("!!int ''", "index"),
        ("2001-99-99", "month"),
        ("[" * 5000, "deep|flow"),
    ],
)
def test_yaml_that_is_more_than_it_seems_is_refused(text, problem):
    with pytest.raises(ValueError, match=problem):
        read_yaml(text)


def test_errors_are_user_errors_that_the_command_line_prints():
    assert all(
        issubclass(kind, Exception) and len(str(kind("x" * 10**6))) < 4100
        for kind in (ConfigError, DataError, CheckpointError)
    )
