"""`das ls [GROUP]`: what there is, read from the yaml files and, unimported, from the modules they name."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

import das
from das.cli.help import choices, groups
from das.cli.paths import conf_dir
from das.errors import UnknownChoiceError

_TARGET = re.compile(r"^\s*_target_:\s*(\S+)", re.MULTILINE)


def command(args: Sequence[str]) -> int:
    """Entry point of `das ls`; groups may be given in the plural."""
    known = groups()
    for arg in args:
        if _singular(arg, known) not in known:
            raise UnknownChoiceError("group", arg, known)
    out = Console(highlight=False)
    out = out if out.is_terminal else Console(highlight=False, width=120)
    for group in [_singular(a, known) for a in args] or known:
        out.print(_table(group))
    return 0


def describe(file: Path) -> str:
    """One sentence about a yaml: the first of its leading comment, or else the first line of its target's module."""
    text = file.read_text()
    comments = [line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#")]
    told = [c for c in comments if not c.startswith("@package")]
    if told:
        return re.split(r"(?<=\.) (?=[A-Z`])", " ".join(told), maxsplit=1)[0]
    target = _TARGET.search(text)
    return _docstring(target[1]) if target else ""


def _docstring(target: str) -> str:
    """First docstring line of the module of a target of this package."""
    package, *rest = target.split(".")
    file = Path(das.__file__).parent.joinpath(*rest[:-1]).with_suffix(".py")
    if package != "das" or not file.is_file():
        return target
    return (ast.get_docstring(ast.parse(file.read_text())) or target).splitlines()[0]


def _table(group: str) -> Table:
    table = Table(title=group, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name in choices(group):
        table.add_row(name, describe(conf_dir() / group / f"{name}.yaml").replace("[", r"\["))
    return table


def _singular(name: str, known: Sequence[str]) -> str:
    return name.removesuffix("s") if name not in known else name
