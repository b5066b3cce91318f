"""One file per published system; `system: seldnet` in params.yaml loads
`seld/systems/seldnet.py`."""

REQUIRED = ("decode",)
