"""ITI: inference-time intervention, a shift of the attention heads that tell the concept best (arXiv 2306.03341).

Equation   x_h' = x_h + f alpha sigma_h theta_h  for the K best heads h;  x_h the head's output before the mixing o_proj
           theta_h the unit difference of the two values' means, or the normal of h's logistic probe
           sigma_h the standard deviation of theta_h . x_h (divided by the count, as np.std)
Heads      of the layers of the sites given (the paper: site.layer=all); the best by their probes' accuracy on the
           validation split, ties to the later head
Fitted on  means and deviations over training and validation examples, probes on training alone, as the authors' code;
           the paper reads at the last token and writes at "generated" ones
Shapes     x (N, head width) -> one direction (head width,) per head
Raises     InputError where a chosen head does not tell the values apart, EmptySplitError for a value without prompts
Cost       one probe per head
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from das.edits.add import Add
from das.errors import InputError, UnknownChoiceError
from das.estimators.base import POSITIVE, Entries, Examples, Found, Trial
from das.estimators.logistic import Probe, fit_probe
from das.estimators.rounding import unit
from das.featurizers.direction import Direction
from das.interventions.base import Intervention
from das.models.families import ModelView
from das.types import SOURCE, Site

HEAD = "head_attention_value_output"


@final
@dataclass(frozen=True)
class Iti:
    """Shifts of the best heads.

    Attributes:
        heads: K; all heads where there are fewer.
        alpha: strength, in standard deviations.
        direction: "mass_mean" or "probe".
        l2: ridge of the probes.
    """

    heads: int = 48
    alpha: float = 15.0
    direction: str = "mass_mean"
    l2: float = 1e-3

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise InputError("at least one head must be shifted", got=self.heads)
        if self.direction not in ("mass_mean", "probe"):
            raise UnknownChoiceError("direction", self.direction, ("mass_mean", "probe"))

    def candidates(self, view: ModelView, sites: Sequence[Site]) -> Sequence[Site]:
        """Every head of the sites' layers (or those a site names), read and written where the site says."""
        found: list[Site] = []
        for site in sites:
            whole = replace(
                site, component=HEAD, heads=None, side="output", source_positions=site.read(SOURCE).positions
            )
            n = view.bind(whole).width // view.bind(replace(whole, heads=(0,))).width
            found += [replace(whole, heads=(h,)) for h in (range(n) if site.heads is None else site.heads)]
        return list(dict.fromkeys(found))

    def fit_set(self, view: ModelView, found: Mapping[Site, Found], trial: Trial) -> Entries:
        """The best heads in forward order, each shifted by alpha deviations at a factor of one."""
        sites, read = list(found), list(found.values())
        probes = [fit_probe(x.train.x, x.train.label == POSITIVE, self.l2) for x in read]
        told = [p.accuracy(x.val.x, x.val.label == POSITIVE) for p, x in zip(probes, read, strict=True)]
        ranked = sorted(range(len(sites)), key=lambda n: (told[n], n))
        return [(sites[n], self._shift(read[n], probes[n])) for n in sorted(ranked[-self.heads :])]

    def _shift(self, found: Found, probe: Probe) -> Intervention:
        x = torch.cat([found.train.x, found.val.x]).double()
        both = Examples.of(x, torch.cat([found.train.label, found.val.label]))
        positive, negative = both.means()
        found_by = probe.weight * both.size**2 if self.direction == "probe" else positive - negative
        v = unit(found_by, "the head's direction", both.size)
        amount = self.alpha * (x @ v).std(unbiased=False)
        return Intervention(Direction(len(v), v, learned=False), Add(1, amount[None]), name="iti")


METHOD = Iti
