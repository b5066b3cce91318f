"""Metadata of exported models: everything that a program without this project needs to know.

ONNX has them in `metadata_props`, SavedModel in `assets.extra/metadata.json`, and LiteRT as an
associated file, `metadata.json` in the ZIP archive at its end, where the format keeps such files.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.features.frontend import AUDIO, Frontend

if TYPE_CHECKING:
    from common.training.ensemble import Ensemble

VERSION = 1
FILE = "metadata.json"
EXTRA = "assets.extra"  # folder of a SavedModel that no loader touches
_AXES = {
    AUDIO: ("batch", "samples", "channels"),
    "features": ("batch", "frames", "bands", "channels"),
}
_UNITS = {AUDIO: "16-bit samples", "features": "as extraction stores them, not standardised"}


def takes_audio(system: "Ensemble") -> bool:
    """True for models of audio, False for those of features."""
    _, model = system.stages[0]
    return str(model.inputs[0].dtype) == "int16"


def metadata_of(
    system: "Ensemble", experiment: Any, frontend: Frontend, decoding: Mapping[str, Any]
) -> dict[str, Any]:
    """Describes an exported system in plain values.

    Args:
        system: its models.
        experiment: of the run, `common.training.experiment.BaseExperiment` of the family.
        frontend: the features in samples, wherever they are computed.
        decoding: settings of decoding and thresholds.

    Returns:
        `metadata_version`, `family`, `system`, `classes`, `sample_rate_hz`, `channels` (None: any
        number, of which the mean is taken), `hop_s`, `features`, `input`, `outputs`, `decoding`.
    """
    task, (_, model) = experiment.task, system.stages[0]
    name = AUDIO if takes_audio(system) else "features"
    shapes: dict[str, Any] = {}
    for stage, each in system.stages:
        shapes |= {key: each.output[key].shape for key in stage.outputs_used or each.output}
    known = getattr(experiment, "OUTPUTS", {})
    outputs = {}
    for key in sorted(shapes):
        shape = list(shapes[key])
        forms = (form for form in known.get(key, ()) if len(form[0]) == len(shape))
        axes, unit = next(forms, ((), "unknown"))
        outputs[key] = {"shape": shape, "axes": list(axes), "unit": unit}
    given = {"name": name, "type": model.inputs[0].dtype, "shape": list(model.input_shape)}
    return {
        "metadata_version": VERSION,
        "family": task.family,
        "system": task.system,
        "classes": list(task.dataset.classes),
        "sample_rate_hz": frontend.sample_rate_hz,
        "channels": task.audio_channels,
        "hop_s": frontend.hop_samples / frontend.sample_rate_hz,
        "features": feature_facts(frontend),
        "input": {**given, "axes": list(_AXES[name]), "unit": _UNITS[name]},
        "outputs": outputs,
        "decoding": dict(decoding),
    }


def feature_facts(frontend: Frontend) -> dict[str, Any]:
    """Settings of features in samples and Hz, with the positions of frames."""
    bands, channels = frontend.bands_channels
    before = frontend.longest // 2 if frontend.entry.is_centred else 0
    return {
        **asdict(frontend),
        "bands": bands,
        "feature_channels": channels,
        "is_centred": frontend.entry.is_centred,
        "counts_the_end": frontend.entry.counts_the_end,
        "top_db_of_all_channels": frontend.entry.peak == "all",
        "unit": frontend.entry.level_unit,
        "samples_before_first_frame": before,
        "context_frames": frontend.context_frames,
    }


def texts_of(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Metadata as texts: strings as they are, everything else in JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }


def json_of(metadata: Mapping[str, Any]) -> str:
    """Metadata as the text of a JSON file."""
    return json.dumps(dict(metadata), indent=2, ensure_ascii=False) + "\n"


def with_archive(model: bytes, metadata: Mapping[str, Any]) -> bytes:
    """A LiteRT model followed by an archive with its metadata; the same input, the same bytes."""
    file = io.BytesIO(model)
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(FILE), json_of(metadata))
    return file.getvalue()


def read_metadata(path: Path) -> dict[str, Any]:
    """Reads the metadata of an exported model of any format.

    Args:
        path: file, or folder of a SavedModel.

    Raises:
        OSError: it cannot be read.
        KeyError: an archive or model without metadata.
    """
    if path.is_dir():
        found: dict[str, Any] = json.loads((path / EXTRA / FILE).read_text(encoding="utf-8"))
        return found
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(FILE))
        return found
    import onnx

    properties = {each.key: each.value for each in onnx.load(path).metadata_props}
    texts = ("family", "system")
    return {k: v if k in texts else json.loads(v) for k, v in properties.items()}
