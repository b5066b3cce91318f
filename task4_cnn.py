"""python task4_cnn.py [<task-id> <job-id>]: trains and scores a CNN of DCASE 2019 task 4; default task: cnn9."""

import sys

from sed_task4.cli import main

if __name__ == "__main__":
    sys.exit(main(default_task="cnn9"))
