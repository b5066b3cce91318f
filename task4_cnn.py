"""python task4_cnn.py [<task-id> <job-id>]: CNN5, CNN9 and CNN13 of DCASE 2019 task 4."""

import sys

from sed_task4.cli import main

if __name__ == "__main__":
    sys.exit(main(default_task="cnn9"))
