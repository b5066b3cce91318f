"""python simulate.py <task-id> [--preset P] [--annotations DIR]: a dataset in the layout of the
real one."""

import sys

from common.cli.train import simulate

if __name__ == "__main__":
    sys.exit(simulate())
