"""Hyper vector: a steering vector per row, made from a concept's description and the base prompt (HyperSteer).

Equation   v = W decoder(description; h of the prompt)            `das.conditioners.decoder`
Gives      "vector" (B, width), for `das.featurizers.row_vector`
Source     arXiv 2506.03292
Raises     CapabilityError without a description, or (with `attends`) where a row shows no token of its prompt
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import nn

from das.conditioners.base import Conditioner, ConditionerResult
from das.conditioners.decoder import Decoder, described
from das.context import Context
from das.errors import CapabilityError
from das.shapes import Activation, SourceActivation
from das.types import CONCEPT


@final
class HyperVector(Conditioner):
    """A hypernetwork whose output is a vector.

    Args:
        width: activation size.
        hidden, layers, heads: size of the network.
        attends: whether it also looks at the prompt that is steered; if not, a concept has one vector for all prompts.
    """

    sources = (CONCEPT,)
    gives = ("vector",)

    def __init__(self, width: int, hidden: int = 64, layers: int = 2, heads: int = 4, attends: bool = True) -> None:
        super().__init__()
        self.width, self.hidden, self.layers, self.heads, self.attends = width, hidden, layers, heads, attends
        self.decoder = Decoder(width, hidden, layers, heads, memories=int(attends))
        self.vector = nn.Linear(hidden, width)

    def forward(self, h: Activation, sources: Mapping[str, SourceActivation], ctx: Context) -> ConditionerResult:
        """The vectors; "vector_norm" reports their mean length."""
        description, shown = described(sources, ctx, len(h)), ctx.visible(h)
        if self.attends and not bool(shown.any(1).all()):
            raise CapabilityError(
                "this hypernetwork looks at the prompt where it steers, and these positions hold no token of it",
                got="response tokens only", remedy="use positions 'all' or 'prompt', or attends=false",
            )  # fmt: skip
        vector = self.vector(self.decoder(description, [(h, shown)] if self.attends else []))
        return {"vector": vector}, {"vector_norm": vector.detach().norm(dim=-1).mean()}

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "width": self.width, "hidden": self.hidden, "layers": self.layers, "heads": self.heads,
            "attends": self.attends,
        }  # fmt: skip
