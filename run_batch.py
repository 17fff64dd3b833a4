"""Scores files with the registered model; ``python run_batch.py --help`` lists the arguments and the exit codes."""

import sys

from src.services.batch.run_batch import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
