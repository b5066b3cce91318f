"""Published systems, one file each: `system: tf_segmentation` loads `tf_segmentation.py` here."""

REQUIRED = ("probabilities",)
