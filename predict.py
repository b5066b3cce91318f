"""python predict.py RUN_DIRECTORY AUDIO...: events, directions and figures of any recordings, by a
trained run."""

import sys

from common.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
