"""The program `dsformer`, as an installation has it."""

import sys

from dsformer_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
