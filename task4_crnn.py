"""python task4_crnn.py [<task-id> <job-id>]: the two-pass CRNN of DCASE 2018 task 4."""

import sys

from sed_task4.cli import main

if __name__ == "__main__":
    sys.exit(main(default_task="crnn"))
