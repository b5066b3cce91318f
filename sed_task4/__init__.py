"""Sound event detection from weak and strong labels: DCASE 2018 and 2019 task 4."""
