"""Time-frequency segmentation trained on clip tags: masks of sounds in spectrograms, events,
separated sounds."""
