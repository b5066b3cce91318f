"""One file per published system; `system: tf_segmentation` in params.yaml loads
`tf_segmentation.py` here."""

REQUIRED = ("probabilities",)
