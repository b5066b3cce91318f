"""python batch_feature_extraction.py [<task-id>] [--sets dev|eval|both]: TFRecord shards."""

import sys

from common.cli.extract import main

if __name__ == "__main__":
    sys.exit(main())
