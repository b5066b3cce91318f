"""Configuration of the machine that would change results, overruled before Keras is loaded.

Keras reads `~/.keras/keras.json` and environment variables while it is imported, TensorFlow imports
Keras, and JAX, cuBLAS and oneDNN read variables of their own. Settings of a run are in
`params.yaml` only.
"""

import logging
import os

logger = logging.getLogger(__name__)
_NO_FOLDER = os.path.join(os.devnull, "keras")  # without keras.json, and none can be written
# Each changes numbers, epochs or steps. Variables of folders, caches and threads stay.
OVERRULED = (
    *("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED", "KERAS_TORCH_DEVICE"),
    *("JAX_DEBUG_INFS", "JAX_DEBUG_NANS", "JAX_DISABLE_JIT", "JAX_ENABLE_X64"),
    *("JAX_DEFAULT_DTYPE_BITS", "JAX_DEFAULT_MATMUL_PRECISION", "JAX_DEFAULT_PRNG_IMPL"),
    *("JAX_NUMPY_DTYPE_PROMOTION", "JAX_NUMPY_RANK_PROMOTION"),
    *("JAX_RANDOM_SEED_OFFSET", "JAX_THREEFRY_PARTITIONABLE"),
    *("DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_DEFAULT_FPMATH_MODE", "TF_SET_ONEDNN_FPMATH_MODE"),
    *("TF_CUDNN_DETERMINISTIC", "TF_DETERMINISTIC_OPS", "TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
)
# These may move the last digits, or choose the device; a run records them.
RECORDED = (
    *("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS", "OMP_NUM_THREADS"),
    *("TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS", "XLA_FLAGS"),
)


def overrule_machine() -> None:
    """Hides the user's keras.json and variables that change results, before Keras loads.

    Processes that this one starts inherit it. The log lists the variables that were set.
    """
    os.environ["KERAS_HOME"] = _NO_FOLDER
    found = [name for name in OVERRULED if os.environ.pop(name, None) is not None]
    if found:
        ignored = "Environment variables that would change results are ignored: %s."
        logger.warning(ignored, ", ".join(found))


def recorded_variables() -> dict[str, str]:
    """Environment variables that are set and kept in the record of a run."""
    return {name: os.environ[name] for name in RECORDED if name in os.environ}
