"""Which variables an interchange sets, and what its sources are called. Torch-free.

One variable is read from one source, named "source". Several are read from a source each, "first", "second", ...; then
a dataset holds interchanges of every single variable and of all together, and where a variable is left alone its source
is the base itself, which changes nothing, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from das.errors import ConfigError, UnknownChoiceError
from das.types import SOURCE

_ORDINALS = ("first", "second", "third", "fourth")


def source_names(variables: Sequence[str]) -> dict[str, str]:
    """Variable -> the source it is taken from."""
    names = (SOURCE,) if len(variables) == 1 else _ORDINALS
    return dict(zip(variables, names, strict=False))


def interchanges(variables: Sequence[str]) -> list[tuple[str, ...]]:
    """The sets of variables that are interchanged: each alone and, where there are several, all of them."""
    return [*((v,) for v in variables), *([tuple(variables)] if len(variables) > 1 else [])]


def check_variables(task: str, variables: Sequence[str], known: Iterable[Sequence[str]]) -> None:
    """Raise unless the variables are distinct and of one hypothesis.

    Args:
        task: its name.
        variables: what is to be interchanged.
        known: the variables of every hypothesis (causal model) of the task.

    Raises:
        UnknownChoiceError: a variable that does not exist.
        ConfigError: none, one of them twice, or variables of different hypotheses.
    """
    hypotheses = [tuple(h) for h in known]
    for variable in variables:
        if not any(variable in h for h in hypotheses):
            raise UnknownChoiceError(f"variable of {task}", variable, [v for h in hypotheses for v in h])
    fits = any(set(variables) <= set(h) for h in hypotheses)
    if not variables or len(set(variables)) < len(variables) or not fits:
        told = " or ".join(", ".join(h) for h in hypotheses)
        raise ConfigError(
            f"{task} cannot interchange these variables", got=str(variables), remedy=f"give some of {told}"
        )
