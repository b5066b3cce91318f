"""python simulate.py <task-id> [--preset P] [--annotations DIR]: a simulated dataset."""

import sys

from common.cli.simulate import main

if __name__ == "__main__":
    sys.exit(main())
