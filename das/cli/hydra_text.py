r"""Free text on a hydra command line reaches the program exactly as typed.

`prompt=He said, "it's {5}"` is text to a user, but to hydra commas are sweeps, braces are dictionaries, `${...}` is an
interpolation and most of unicode is a syntax error. Rewriting such an argument as a quoted override needs two layers
of escaping, undone in the opposite order:

    OmegaConf   n backslashes before `${`                  ->   2n + 1 backslashes
    hydra       n backslashes before a quote or the end    ->   2n backslashes, then `\'` for the quote

Source: the `QUOTED_VALUE` rule of hydra's OverrideLexer.g4 and `ESC_INTER` of OmegaConf's grammar. Raises nothing.
"""

from __future__ import annotations

import re

#: Keys whose value is text, whatever it looks like: `prompt=null` and `prompt=1e5` are text too.
FREE_TEXT = frozenset({"prompt", "concept"})
#: Keys whose value is a path or a name: quoted where hydra would refuse or alter it, left alone where it has a meaning
#: (`null`, `???`, an interpolation, a list, a value quoted for hydra, and under `sweep` a choice).
PATH_LIKE = frozenset({"out", "prompts", "run_dir", "subspace", "model.path"})

_ARGUMENT = re.compile(r"(\+{0,2})([A-Za-z_][\w.]*)=(.*)", re.DOTALL)
# What hydra reads as one unquoted string, unchanged: no leading or trailing space, no backslash.
_PLAIN = re.compile(r"[A-Za-z0-9_/.$%*@?|:+-]+( +[A-Za-z0-9_/.$%*@?|:+-]+)*", re.ASCII)
# What hydra reads as something other than a string.
_NUMBER = re.compile(
    r"[+-]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][+-]?[0-9][0-9_.]*)?|[+-]?(inf|nan)", re.ASCII | re.IGNORECASE
)
_BOOL = re.compile(r"true|false", re.IGNORECASE)
# What has a meaning of its own. A choice is `a,b` or a function such as `glob(*)`.
_QUOTED = re.compile(r"""'([^'\\]|\\.)*'|"([^"\\]|\\.)*\"""", re.DOTALL)
_CHOICE = re.compile(r"[a-z]+\(.*\)", re.DOTALL)

_THREE = "${oc.decode:???}"


def quote_override(arg: str, *, sweep: bool = False) -> str:
    """The command-line argument `arg`, rewritten if it holds free text that hydra would misread.

    Args:
        arg: one argument as the shell passed it.
        sweep: whether this is a multirun, where `subspace=a,b` means two runs; elsewhere it is a path with a comma.
            A prompt is never swept: its commas are always text.
    """
    match = _ARGUMENT.fullmatch(arg)
    if match is None:
        return arg
    plus, key, value = match.groups()
    if key in FREE_TEXT or (key in PATH_LIKE and _needs_quotes(value, sweep)):
        return f"{plus}{key}={quoted(value)}"
    return arg


def quote_overrides(args: list[str], *, sweep: bool = False) -> list[str]:
    """`quote_override` for a whole command line."""
    return [quote_override(arg, sweep=sweep) for arg in args]


def _needs_quotes(value: str, sweep: bool) -> bool:
    if value == "" or value.lower() == "null" or "${" in value:
        return False
    if _QUOTED.fullmatch(value) or (value[0] == "[" and value[-1] == "]"):
        return False
    if sweep and ("," in value or _CHOICE.fullmatch(value)):
        return False
    return not _PLAIN.fullmatch(value) or bool(_NUMBER.fullmatch(value) or _BOOL.fullmatch(value))


def quoted(text: str) -> str:
    """A text as hydra and OmegaConf have to be given it, so that they read just that."""
    # `???` is OmegaConf's marker for a missing value, even in quotes; only an interpolation can say it as text.
    text = _THREE if text == "???" else re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text)
    return f"'{text}'"
