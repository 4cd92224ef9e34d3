"""``python -m torch_ebpc`` is ``torch-ebpc``."""

import sys

from torch_ebpc.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
