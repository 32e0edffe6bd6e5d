"""`das eval` as a script."""

import sys

from das.cli.main import main

sys.exit(main(["eval", *sys.argv[1:]]))
