"""Typed errors: what went wrong, which value was given, and what to do about it.

Every error a user can cause derives from `DasError` and (where the input was wrong) from `ValueError`, so
`except das.DasError` catches all of them. Messages have three parts: what, got, remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

#: Longest value that a message shows whole.
_LONGEST = 300


class DasError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        what: what is wrong, in one clause.
        got: the offending value, shown with `repr` unless it is already a string; a long one without its middle.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, *, got: object = None, remedy: str = "") -> None:
        self.what, self.got, self.remedy = what, got, remedy
        parts = [what.rstrip(".")]
        if got is not None:
            parts.append(f"got {_short(got if isinstance(got, str) else repr(got))}")
        if remedy:
            parts.append(remedy.rstrip("."))
        super().__init__(". ".join(p[0].upper() + p[1:] if i else p for i, p in enumerate(parts)) + ".")


class InputError(DasError, ValueError):
    """A value given by the user cannot be used."""


class UnknownChoiceError(InputError):
    """A name is not one of the known ones; the message lists them and the nearest match."""

    def __init__(self, kind: str, got: str, choices: Iterable[str], remedy: str = "") -> None:
        self.choices = tuple(sorted(choices))
        near = get_close_matches(str(got), self.choices, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        listed = f"{hint}Choose one of: {', '.join(self.choices)}"
        super().__init__(f"unknown {kind}", got=repr(got), remedy=f"{listed}. {remedy}" if remedy else listed)


class SiteError(InputError):
    """A site does not exist in this model (layer out of range, heads where there are none, ...)."""


class PositionError(InputError):
    """A position or span cannot be found in a prompt, or base and source positions cannot be aligned."""


class LabelError(InputError):
    """A label is not usable after this prompt (several tokens, merges with the prompt, not in the label set)."""


class TokenizerError(InputError):
    """The tokenizer lacks something that is needed, such as offsets."""


class ContextLengthError(InputError):
    """A prompt (with its response) is longer than the model's context."""


class EmptySplitError(InputError):
    """A split has no examples (or none left after filtering)."""


class RowError(InputError):
    """A row of a file lacks what is needed of it, or holds something that cannot be read."""


class EntityError(InputError):
    """An entity occurs in two splits."""


class ModelError(InputError):
    """A model cannot be found, loaded or used as asked."""


class ArtifactError(InputError):
    """A saved subspace cannot be used: another model, another width, tampered, not orthonormal, ..."""


class CapabilityError(InputError):
    """A method was asked for something it cannot do (fold, clamp, per-row factor, ...)."""


class ConfigError(InputError):
    """A configuration is inconsistent."""


class RunExistsError(InputError):
    """A run folder already holds a finished run, or one started with another configuration."""


class EngineError(DasError, RuntimeError):
    """The engine's own checks failed, e.g. a hook that never fired."""


class JudgeError(DasError, RuntimeError):
    """A judge of generated text could not be asked, or its answer cannot be used."""


class NonFiniteLossError(DasError, RuntimeError):
    """The loss or its gradient became NaN or infinite; training stopped and the last good state was kept."""


def _short(text: str) -> str:
    """A text of at most `_LONGEST` characters: what is too long loses its middle."""
    if len(text) <= _LONGEST:
        return text
    kept = (_LONGEST - len(" [...] ")) // 2
    return f"{text[:kept]} [...] {text[-kept:]}"
