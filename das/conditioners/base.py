"""The interface of a conditioner: `conditioner(h, sources, ctx) -> (rows, aux)`.

It looks at the activations before they are edited, at the sources' and at the context (a concept's embedding, say), and
names tensors with one entry per row, which featurizer, edit and gate then find in `ctx.per_row`. HyperDAS makes a basis
and an assignment of positions this way, HyperSteer a vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from das.context import Context
from das.errors import ConfigError
from das.part import Part
from das.shapes import Activation, SourceActivation

ConditionerResult = tuple[dict[str, Tensor], dict[str, Tensor]]


class Conditioner(Part, ABC):
    """Abstract. It sees all positions of a row at once; when it steers, those of the prompt, once.

    Attributes:
        sources: names of the sources it needs, of which it is given all tokens of the prompt.
        gives: names of what it makes of every row.
    """

    scope = "sequence"
    sources: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, h: Activation, sources: Mapping[str, SourceActivation], ctx: Context) -> ConditionerResult:
        """Tensors (B, ...) by name, and aux values."""

    def check(self, modules: Iterable[nn.Module]) -> None:
        """Raise ConfigError where a part among these wants of every row what this does not give."""
        for part in modules:
            if isinstance(part, Part) and (missing := set(part.wants) - set(self.gives)):
                raise ConfigError(
                    f"{type(part).__name__} wants {sorted(missing)} of every row, which the conditioner does not give",
                    got=f"{type(self).__name__}, which gives {sorted(self.gives)}",
                    remedy="use another conditioner, or name it in its `gives`",
                )  # fmt: skip
