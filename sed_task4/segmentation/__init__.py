"""Time-frequency segmentation trained on clip tags: masks of sound classes in spectrograms, events and separated sounds."""
