"""`das train` as a script."""

import sys

from das.cli.main import main

sys.exit(main(["train", *sys.argv[1:]]))
