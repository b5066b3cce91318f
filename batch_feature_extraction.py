"""python batch_feature_extraction.py [<task-id>] [--sets dev|eval|both]: recordings to TFRecord
shards."""

import sys

from common.cli.train import extract

if __name__ == "__main__":
    sys.exit(extract())
