"""Persona vector: difference of response-averaged activations (arXiv 2507.21509).

Equation   h' = h + f v,  v = mean+ - mean-  of the per-prompt means over the tokens read
Fitted on  contrasts with responses: read at "generated" (response-averaged), "prompt" (prompt-averaged) or "last"
Written    at "generated" tokens in the paper
Shapes     x (N, width) -> one direction (width,)
Raises     as diff_means
Unlike diff_means every prompt counts the same, however many tokens its response has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from das.estimators.base import Examples
from das.interventions.base import Intervention
from das.methods.diff_means import shift


@final
@dataclass(frozen=True)
class Persona:
    """Difference of the means of per-prompt means."""

    def fit(self, examples: Examples) -> Intervention:
        """Added at its own length by a factor of one."""
        return shift(*examples.pooled().means(), examples.size, "persona")


METHOD = Persona
