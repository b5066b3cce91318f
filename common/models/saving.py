"""Saved models: loaded without running any code that is stored in them."""

from pathlib import Path

import keras

import common.models.attention  # registers its layer, which saved models name
import common.models.audio_features  # as well
import common.models.augmentation.layers  # as well
import common.models.layers  # as well
import common.models.mean_teacher  # as well
import common.models.merging  # as well
import common.models.rank_pooling  # noqa: F401  # as well
from common.errors import CheckpointError
from common.io.archives import check_archive

MODEL_SUFFIX = ".keras"
_MOST_CHARACTERS = 300


def load_model(path: Path, remedy: str | None = None) -> keras.Model:
    """Loads a saved model without running any code stored in it.

    Args:
        path: the file, `.keras`.
        remedy: advice for files that cannot be loaded; None: train again.

    Raises:
        CheckpointError: the file is missing, damaged or not a Keras model.
    """
    try:
        if path.suffix != MODEL_SUFFIX:  # other forms can hide code where `safe_mode` does not look
            raise ValueError(f"expected a name that ends in {MODEL_SUFFIX}")
        check_archive(path)
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise TypeError(f"it holds a {type(model).__name__}")
    except Exception as error:  # Keras raises many kinds for a damaged file
        remedy = remedy or f"Delete the folder {path.parent} and run the same command again."
        raise CheckpointError(
            f"{path} cannot be loaded as a Keras model: {_reason(error)}. {remedy}"
        ) from error
    return model


def _reason(error: Exception) -> str:
    """Reason of an error in one line, without the layer and the advice that Keras prints."""
    text = " ".join(str(error).rpartition("Exception encountered: ")[2].split())
    if "safe_mode" in text:
        return "it asks for code or files of its own, and nothing in a file is run here"
    return text[:_MOST_CHARACTERS].rstrip(".")
