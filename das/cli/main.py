"""`das COMMAND ...`: finds the command, and turns what goes wrong into one line and an exit code.

Exit codes: 0 done, 2 bad input (or a job of a multirun failed), 3 the loss became NaN, 130 interrupted. DAS_DEBUG=1
shows tracebacks. Nothing heavy is imported until a command needs it, so help and `das ls` are instant.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from das.cli.help import COMMANDS, command_help, overview
from das.cli.interrupted import told
from das.cli.quiet import quiet
from das.errors import DasError, NonFiniteLossError, UnknownChoiceError

_HELP = ("-h", "--help", "help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is without the program's name."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(args)
    except DasError as error:
        if os.environ.get("DAS_DEBUG") == "1":
            raise
        _complain(str(error))
        return 3 if isinstance(error, NonFiniteLossError) else 2
    except KeyboardInterrupt as error:
        _complain(told(error), "")
        return 130


def run() -> None:
    """`main` as a program."""
    sys.exit(main())


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in _HELP:
        print(overview())
        return 0
    if args[0] == "--version":
        import das

        print(das.__version__)
        return 0
    command, rest = args[0], args[1:]
    if command not in COMMANDS:
        raise UnknownChoiceError("command", command, COMMANDS, "`das --help` explains them")
    if any(arg in _HELP for arg in rest):
        print(command_help(command))
        return 0
    # Before the libraries are imported, which read the environment then. OpenMP's threads spin while they wait for work
    # and starve other processes where cores are few: a training took five times as long on a busy machine of two.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    quiet()
    if command in ("ls", "cache"):
        return int(importlib.import_module(f"das.cli.{command}").command(rest) or 0)
    from das.cli.hydra_app import launch

    return launch(command, rest)


def _complain(text: str, prefix: str = "error: ") -> None:
    line = prefix + " ".join(text.split())
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    print(f"\033[31m{line}\033[0m" if colour else line, file=sys.stderr)


if __name__ == "__main__":
    run()
