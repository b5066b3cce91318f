"""Time-frequency segmentation trained on tags: spectrogram masks, events, separated sounds."""
