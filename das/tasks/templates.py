"""The template language of CausalGym: sentences with variables, some of which decide what comes next. Torch-free.

    {"templates": ["The {subject} {prep} the {object}"], "label": "subject", "result_prepend_space": true,
     "labels": {"singular": ["is"], "plural": ["are"]},
     "variables": {"subject": {"singular": ["guard"], "plural": ["guards"]}, "prep": ["near"], "object": ["actor"]}}

A label variable (one, or a list) has fillers per type; the type decides the continuation. Dotted variables with the
same first part ("vp.verb", "vp.cont") are filled by the same place of their lists. A template falls into spans: every
variable, and every stretch of words in between, which is called after its words ("The", "that_the", "the_2" for another
one). A filler may be empty; then there is no such span. Source: aryamanarora/causalgym (arXiv 2402.12560).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.errors import ConfigError, UnknownChoiceError
from das.types import Mentions, Prompt

_PIECE = re.compile(r"{([^{}]+)}")
_KEYS = ("templates", "label", "labels", "variables")

#: Variable -> what it is filled with.
Fillers = Mapping[str, str]


@dataclass(frozen=True)
class Template:
    """A sentence as its pieces.

    Attributes:
        pieces: (span name, variable or None, text of a stretch of words), in order; white space alone has no name.
    """

    pieces: tuple[tuple[str, str | None, str], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Cut a template into pieces."""
        variables = _PIECE.findall(text)
        taken, pieces = set(variables), []
        for i, part in enumerate(_PIECE.split(text)):
            if i % 2:
                pieces.append((part, part, ""))
            elif part:
                words, count = "_".join(part.split()), 1
                name = words
                while name and name in taken:
                    count += 1
                    name = f"{words}_{count}"
                taken.add(name)
                pieces.append((name, None, part))
        return cls(tuple(pieces))

    @property
    def variables(self) -> tuple[str, ...]:
        """In order of appearance."""
        return tuple(variable for _, variable, _ in self.pieces if variable is not None)

    def fill(self, fillers: Fillers) -> Prompt:
        """The sentence; spans leave out the spaces around them."""
        text, spans = "", dict[str, Mentions]()
        for name, variable, words in self.pieces:
            word = words if variable is None else fillers[variable]
            if inner := word.strip():
                start = len(text) + word.index(inner)
                spans[name] = (*spans.get(name, ()), (start, start + len(inner)))
            text += word
        return Prompt(text, spans)


@dataclass(frozen=True)
class Gym:
    """One task in the template language.

    Attributes:
        templates: sentences.
        label_variables: what the type decides.
        labels: type -> continuations, with their leading space.
        variables: variable -> fillers; of label variables type -> fillers.
    """

    templates: tuple[Template, ...]
    label_variables: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]
    variables: Mapping[str, Sequence[str] | Mapping[str, Sequence[str]]]

    @classmethod
    def parse(cls, name: str, entry: Any) -> Gym:
        """Read an entry of a file.

        Raises:
            ConfigError: a key is missing, a variable of a template has no fillers, types differ, or dotted variables
                are filled from lists of different lengths.
        """
        if not isinstance(entry, Mapping) or any(key not in entry for key in _KEYS):
            raise ConfigError(f"task {name!r} is incomplete", got=entry, remedy=f"give it {', '.join(_KEYS)}")
        space = " " if entry.get("result_prepend_space", True) else ""
        labels = {of: tuple(space + word for word in words) for of, words in entry["labels"].items()}
        label = entry["label"]
        gym = cls(
            tuple(map(Template.parse, entry["templates"])), (label,) if isinstance(label, str) else tuple(label),
            labels, entry["variables"],
        )  # fmt: skip
        gym._check(name)
        return gym

    @property
    def types(self) -> tuple[str, ...]:
        """What label variables are drawn from."""
        return tuple(self.labels)

    @property
    def spans(self) -> tuple[str, ...]:
        """Spans of the first template that both sentences of a pair always have, from the first label variable on."""
        pieces = self.templates[0].pieces
        start = min(i for i, (_, variable, _) in enumerate(pieces) if variable in self.label_variables)
        later = pieces[start:]
        return tuple(name for name, variable, words in later if all(map(str.strip, self._possible(variable, words))))

    def shared(self, template: Template, rng: random.Random) -> dict[str, str]:
        """One draw of everything that both sentences of a pair share."""
        drawn: dict[str, str] = {}
        places: dict[str, int] = {}
        for variable in dict.fromkeys(template.variables):
            if variable not in self.label_variables:
                fillers = self.variables[variable]
                assert not isinstance(fillers, Mapping)
                group = variable.partition(".")[0] if "." in variable else variable
                drawn[variable] = fillers[places.setdefault(group, rng.randrange(len(fillers)))]
        return drawn

    def own(self, of: str, rng: random.Random) -> dict[str, str]:
        """One draw of the label variables of a type."""
        return {v: rng.choice(self.variables[v][of]) for v in self.label_variables}  # type: ignore[call-overload]

    def _possible(self, variable: str | None, words: str) -> Sequence[str]:
        """All fillers of a variable, or the words themselves."""
        fillers = [words] if variable is None else self.variables[variable]
        return [word for row in fillers.values() for word in row] if isinstance(fillers, Mapping) else fillers

    def _check(self, name: str) -> None:
        def wrong(what: str, got: Any, remedy: str) -> ConfigError:
            return ConfigError(f"task {name!r}: {what}", got=got, remedy=remedy)

        if len(self.labels) < 2 or not all(self.labels.values()) or not self.templates:
            raise wrong("a pair needs two types with continuations, and a template", dict(self.labels), "add them")
        for template in self.templates:
            lengths: dict[str, int] = {}
            for variable in template.variables:
                fillers = self.variables.get(variable)
                typed = variable in self.label_variables
                if not fillers or isinstance(fillers, Mapping) != typed:
                    form = "fillers per type" if typed else "a list of fillers"
                    raise wrong(f"variable {variable!r} cannot be filled", fillers, f"give it {form}")
                if isinstance(fillers, Mapping):
                    if not all(fillers.get(of) for of in self.types):
                        raise wrong(f"types of {variable!r} differ from those of labels", list(fillers), "match them")
                elif "." in variable and lengths.setdefault(variable.partition(".")[0], len(fillers)) != len(fillers):
                    raise wrong(f"{variable!r} is not as long as its group", len(fillers), "pair up their fillers")
            if not set(self.label_variables) <= set(template.variables):
                raise wrong("a template lacks a label variable", template.variables, "name it in the template")


def read_gym(path: str, name: str) -> Gym:
    """A task of a file: a JSON object of name -> entry.

    Raises:
        ConfigError: no such file, no JSON object, or an entry that does not hold together.
        UnknownChoiceError: no such task in it.
    """
    file = Path(path).expanduser()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            "no templates can be read there", got=f"{path}: {error}", remedy="give a JSON file"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file.name} holds no JSON object", got=type(found).__name__, remedy="write name -> task")
    if name not in found:
        raise UnknownChoiceError(f"task of {file.name}", name, found)
    return Gym.parse(name, found[name])
