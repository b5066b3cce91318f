"""One file per published system; `system: cnn` in params.yaml loads `sed_task4/systems/cnn.py`."""

REQUIRED = ("probabilities",)
