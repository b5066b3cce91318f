"""python task4_segmentation.py [<task-id> <job-id>]: time-frequency segmentation."""

import sys

from sed_task4.segmentation.cli import main

if __name__ == "__main__":
    sys.exit(main())
