"""python predict.py RUN_DIRECTORY AUDIO...: predictions of a trained run for any recordings."""

import sys

from common.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
