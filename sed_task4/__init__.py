"""Sound event detection in clips of ten seconds from weak, strong and missing labels: DCASE 2018
and 2019 task 4."""
