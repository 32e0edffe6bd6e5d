"""Directional ablation: one direction is removed from everything that is read or written (arXiv 2406.11717).

Equation   h' = h - r (r.h)  at every block's input and every attention and MLP output, all positions
           r the unit difference in means at one of the sites and tokens given, chosen on the validation split:
             induce   log odds of the positive label on negative prompts, the difference added where it was read: more
                      than min_induced
             kl       KL(unmodified || ablated) on negative prompts, <= max_kl nats
             ablate   log odds of the positive label on positive prompts once r is ablated: the lowest of what is left
Fitted on  sites in front of `depth` of all blocks (the paper: block_input, every layer, all post-instruction tokens)
Shapes     x (N, width) -> one direction (width,), shared by all places
Raises     InputError where no candidate passes, EmptySplitError for a value without prompts, SiteError for narrow sites
Cost       at most two validation runs per candidate
Equal to   weights orthogonalised against r where blocks have no norm after their outputs (`das.fold`)
Note       a concept of two symmetric values, rather than one that is present or absent, fails `max_kl` by its nature
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from das.edits.zero import Zero
from das.errors import InputError
from das.estimators.base import Entries, Found, Trial
from das.estimators.directions import EVERYWHERE, Candidate, differences, everywhere, report, residual_site
from das.estimators.rounding import unit
from das.featurizers.direction import Direction
from das.interventions.base import Intervention
from das.methods.diff_means import shift
from das.models.families import ModelView
from das.types import Site

PLACES = ("block_input", "attention_output", "mlp_output")


@final
@dataclass(frozen=True)
class DirectionalAblation:
    """The direction whose removal removes the concept, and little else.

    Attributes:
        min_induced: log odds that adding the difference must reach on negative prompts.
        max_kl: nats that ablation may cost on negative prompts.
        depth: share of the blocks in front of which a site must lie.
    """

    min_induced: float = 0.0
    max_kl: float = 0.1
    depth: float = 0.8

    def candidates(self, view: ModelView, sites: Sequence[Site]) -> Sequence[Site]:
        """The sites in the first blocks.

        Raises:
            InputError: there is none.
        """
        last = int(view.n_layers * self.depth)
        kept = [residual_site(view, site) for site in sites if view.bind(site).block < last]
        if not kept:
            raise InputError(
                f"every site lies behind the first {last} of {view.n_layers} blocks, where directions come too late",
                got=", ".join(map(str, sites)), remedy="read earlier, or raise depth",
            )  # fmt: skip
        return list(dict.fromkeys(kept))

    def fit_set(self, view: ModelView, found: Mapping[Site, Found], trial: Trial) -> Entries:
        """Coordinates set to zero, by one intervention at all places."""
        candidates = differences(found)
        inducing = [c for c in candidates if trial(_added(c)).log_odds[1] > self.min_induced]
        effects = [(trial(_ablated(view, c)), c) for c in inducing]
        passed = [(e.log_odds[0], n) for n, (e, _) in enumerate(effects) if e.kl <= self.max_kl]
        if not passed:
            least = min((e.kl for e, _ in effects), default=None)
            told = "" if least is None else f", and ablating the cheapest of them costs {least:.3g} nats"
            raise InputError(
                "no direction passes the selection",
                got=f"{len(candidates)} candidates, of which {len(inducing)} induce the positive value{told}",
                remedy="read at more layers and positions, or relax min_induced or max_kl",
            )
        after, chosen = effects[min(passed)[1]]
        report(view, chosen, f": log odds {after.log_odds[0]:.3f}, KL {after.kl:.3f}")
        return _ablated(view, chosen)


def _added(candidate: Candidate) -> Entries:
    site = replace(candidate.site, positions=EVERYWHERE, source_positions=None)
    return [(site, shift(candidate.vector, 0 * candidate.vector, 0.0, "directional_ablation"))]


def _ablated(view: ModelView, candidate: Candidate) -> Entries:
    direction = Direction(view.width, unit(candidate.vector, "the difference of the means", 0.0), learned=False)
    made = Intervention(direction, Zero(), steering={"ablate": Zero()}, name="directional_ablation")
    return everywhere(view, PLACES, made)


METHOD = DirectionalAblation
