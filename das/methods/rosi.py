"""ROSI: rank-one safety injection, everything that is written moves along one direction (arXiv 2508.20766).

Equation   W' = W + f alpha s w^T  for every attention and MLP output projection W (width, inputs), w its mean row
           as an intervention on the output o = W x: o' = o + f (alpha / width) s (1.o), all positions
           s the unit difference in means at the site given; of several sites and tokens the one whose edit makes the
           positive label likeliest on positive prompts of the validation split
Shapes     x (N, width) -> one direction (width,), shared by all places
Raises     InputError where the values do not differ, EmptySplitError for a value without prompts, SiteError for narrow
           sites
Equal to   its weight edit (`das.fold`); a bias counts as one more column of W
Note       the shift has the sign of the mean output, so which way a factor of one steers depends on the model. The
           paper's text was not at hand: the formula is from summaries of it, and alpha's default is not theirs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch

from das.edits.affine import Affine
from das.estimators.base import Entries, Found, Trial
from das.estimators.directions import Candidate, differences, everywhere, report, residual_site
from das.estimators.rounding import unit
from das.featurizers.direction import Direction
from das.interventions.base import Intervention
from das.models.families import ModelView
from das.types import Site

PLACES = ("attention_output", "mlp_output")


@final
@dataclass(frozen=True)
class Rosi:
    """Rank-one edits of everything that writes.

    Attributes:
        alpha: strength.
    """

    alpha: float = 1.0

    def candidates(self, view: ModelView, sites: Sequence[Site]) -> Sequence[Site]:
        """The sites themselves."""
        return list(dict.fromkeys(residual_site(view, site) for site in sites))

    def fit_set(self, view: ModelView, found: Mapping[Site, Found], trial: Trial) -> Entries:
        """One intervention at all places."""
        candidates = differences(found)
        made = [self._injected(view, c) for c in candidates]
        odds = [0.0] if len(made) == 1 else [trial(entries).log_odds[0] for entries in made]
        best = max(range(len(made)), key=odds.__getitem__)
        report(view, candidates[best])
        return made[best]

    def _injected(self, view: ModelView, candidate: Candidate) -> Entries:
        width = view.width
        direction = Direction(width, unit(candidate.vector, "the difference of the means", 0.0), learned=False)
        mean = torch.full((1, width), self.alpha / width)
        edit = Affine(width, 1, relative=True, weight=mean, bias=torch.zeros(1), learned=False)
        return everywhere(view, PLACES, Intervention(direction, edit, steering={}, name="rosi"))


METHOD = Rosi
