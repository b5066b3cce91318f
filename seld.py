"""python seld.py <task-id> <job-id>: trains and scores a SELD system."""

import sys

from seld.cli import main

if __name__ == "__main__":
    sys.exit(main())
