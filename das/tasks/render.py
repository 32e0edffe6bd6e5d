"""Values of a causal model's inputs as text, with the characters that each of them takes. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import Formatter

from das.errors import ConfigError
from das.types import Prompt


def render(template: str, values: Mapping[str, object]) -> Prompt:
    """A template with its `{fields}` filled in; every field is a span that holds all its mentions.

    Raises:
        KeyError: a field has no value; `check_template` says so for people.
    """
    text = ""
    spans: dict[str, list[tuple[int, int]]] = {}
    for literal, name, _, _ in Formatter().parse(template):
        text += literal
        if name is not None:
            word = str(values[name])
            spans.setdefault(name, []).append((len(text), len(text) + len(word)))
            text += word
    return Prompt(text, {name: tuple(mentions) for name, mentions in spans.items()})


def check_template(template: str, fields: Iterable[str]) -> None:
    """Raise ConfigError unless a template has exactly these fields."""
    wanted = tuple(fields)
    try:
        found = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ConfigError("the template cannot be read", got=template, remedy=f"{error}: write {{{{ for {{") from error
    if found != set(wanted):
        told = ", ".join(f"{{{name}}}" for name in wanted)
        raise ConfigError("the template has other fields than the task", got=template, remedy=f"use each of {told}")
