"""One file per published system: `system: seldnet` in params.yaml loads `seldnet.py`."""

REQUIRED = ("decode",)
