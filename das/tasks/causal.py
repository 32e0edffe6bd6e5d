"""Causal models in plain Python: variables, parents, mechanisms, and what an interchange does to them.

A causal model is a directed acyclic graph. Variables without a mechanism are inputs; every other one is computed from
its parents. `interchange` is the high-level counterpart of an interchange intervention on a network: run the base with
each intervened variable forced to the value it takes on its source (Geiger et al., arXiv 2303.02536). Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from das.errors import ConfigError, InputError, UnknownChoiceError

Mechanism = Callable[..., Any]


@dataclass(frozen=True)
class CausalModel:
    """A deterministic causal model.

    Attributes:
        parents: variable -> the variables its mechanism takes, in order; inputs have none.
        mechanisms: variable -> function of its parents' values; inputs have none.

    Raises:
        UnknownChoiceError: a parent or a mechanism names a variable that does not exist.
        ConfigError: a variable has parents but no mechanism, or the graph has a cycle.
    """

    parents: Mapping[str, tuple[str, ...]]
    mechanisms: Mapping[str, Mechanism]

    def __post_init__(self) -> None:
        self._known(self.mechanisms)
        for variable, parents in self.parents.items():
            self._known(parents)
            if parents and variable not in self.mechanisms:
                raise ConfigError(
                    f"variable {variable!r} has parents but no mechanism", remedy="give it one, or make it an input"
                )
        _ = self.variables  # finds cycles

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """All variables, parents before children; ties keep the declared order."""
        order: dict[str, None] = {}
        while len(order) < len(self.parents):
            ready = [v for v, ps in self.parents.items() if v not in order and all(p in order for p in ps)]
            if not ready:
                stuck = [v for v in self.parents if v not in order]
                raise ConfigError("the causal graph has a cycle", got=f"{', '.join(stuck)}", remedy="remove an edge")
            order.update(dict.fromkeys(ready))
        return tuple(order)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The variables without a mechanism, in declared order."""
        return tuple(v for v in self.parents if v not in self.mechanisms)

    def run(self, inputs: Mapping[str, Any], do: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Values of all variables given the inputs, with the variables in `do` forced to the values there.

        An input may be left out where `do` forces it.
        """
        forced = dict(do or {})
        self._known([*inputs, *forced])
        if computed := [v for v in inputs if v in self.mechanisms]:
            raise InputError("only inputs can be given as inputs", got=computed, remedy="force others with do=")
        values: dict[str, Any] = {}
        for variable in self.variables:
            if variable in forced:
                values[variable] = forced[variable]
            elif variable in self.mechanisms:
                values[variable] = self.mechanisms[variable](*(values[p] for p in self.parents[variable]))
            elif variable in inputs:
                values[variable] = inputs[variable]
            else:
                raise InputError("an input has no value", got=variable, remedy=f"give all of: {', '.join(self.inputs)}")
        return values

    def interchange(self, base: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Run the base inputs with each variable of `sources` forced to the value it takes on its source inputs."""
        self._known(sources)
        return self.run(base, {variable: self.run(inputs)[variable] for variable, inputs in sources.items()})

    def _known(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.parents:
                raise UnknownChoiceError("variable", name, self.parents)
