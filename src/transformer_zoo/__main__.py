"""`python -m transformer_zoo` is the command `transformer-zoo`."""

import sys

from transformer_zoo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
