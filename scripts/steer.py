"""`das steer` as a script."""

import sys

from das.cli.main import main

sys.exit(main(["steer", *sys.argv[1:]]))
