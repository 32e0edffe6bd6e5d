"""What is computed once for a whole dataset, and what in every step.

    all      sources, targets, base residual and prefix keys/values are kept: a step resumes at the site
    prefix   sources and targets are kept; the base prefix is recomputed per step without gradient, then resumed
    hooks    nothing is kept: every step runs sources and base in full; the reference the others are tested against

`prepare` picks the highest tier that the model allows and the memory budget holds, and says why.
"""

from __future__ import annotations

import logging
from typing import Literal, final

from rich.progress import track
from torch import nn

from das.batch import PairBatch
from das.engine.engine import Engine
from das.engine.kept import TIERS, Extent, Kept, PairData, Stored, Tier
from das.engine.read import SourceState
from das.engine.resume import BaseState, base_state
from das.errors import UnknownChoiceError
from das.interventions.sets import InterventionSet
from das.models.layouts import LAYOUTS
from das.outputs import FrozenRun, Headless, Outputs

logger = logging.getLogger("das.engine")


@final
class Prepared:
    """An engine with whatever it keeps of one dataset. Use `prepare` to make one."""

    def __init__(
        self, engine: Engine, tier: Tier, reason: str, runs: frozenset[FrozenRun], kept: Stored | None
    ) -> None:
        self.engine, self.tier, self.reason, self.runs, self._kept = engine, tier, reason, runs, kept

    def outputs(self, batch: PairBatch, interventions: InterventionSet, progress: float | None = None) -> Outputs:
        """Intervened logits (and target logits) of a batch of the prepared dataset, with gradients."""
        return self.engine.outputs(batch, interventions, *self.constant(batch), progress)

    def headless(self, batch: PairBatch, interventions: InterventionSet, progress: float | None = None) -> Headless:
        """The same before the head."""
        return self.engine.headless(batch, interventions, *self.constant(batch), progress)

    def logits_per_token(self, batch: PairBatch) -> int:
        """Numbers that one label token of every row makes: rows x vocabulary."""
        return len(batch.rows) * int(getattr(self.engine.view.head, "out_features", 0))

    def constant(self, batch: PairBatch) -> tuple[SourceState, BaseState | None]:
        """What does not depend on the interventions."""
        if self._kept is None:
            return self.engine.sources(batch, self.runs), None
        view, block = self.engine.view, self.engine.block
        return self._kept.sources(batch), (
            self._kept.state(batch) if self.tier == "all" else base_state(view, block, batch)
        )

    @property
    def nbytes(self) -> int:
        """Memory held for the dataset."""
        return 0 if self._kept is None else self._kept.nbytes


def prepare(
    engine: Engine,
    data: PairData,
    *,
    runs: frozenset[FrozenRun] = frozenset(),
    tier: Tier | Literal["auto"] = "auto",
    budget_bytes: int = 4 << 30,
    batch_size: int = 64,
    progress: bool = False,
) -> Prepared:
    """Collect what the tier keeps, in one pass over the data without gradients.

    Args:
        engine: model and placements.
        data: the dataset the steps will take their batches from.
        runs: frozen runs whose logits are needed beside the intervened run's.
        tier: "auto" picks the highest tier that fits; a tier that the model does not allow falls back to "hooks".
        budget_bytes: most memory the kept tensors may take under "auto".
        batch_size: rows per collecting forward.
        progress: show a progress bar.
    """
    if tier not in (*TIERS, "auto"):
        raise UnknownChoiceError("engine tier", tier, (*TIERS, "auto"))
    obstacle = why_not_resumable(engine)
    if tier == "hooks" or obstacle:
        reason = obstacle or "asked for"
        logger.info("engine tier: hooks (%s)", reason)
        return Prepared(engine, "hooks", reason, runs, None)
    chunks = [range(i, min(i + batch_size, len(data))) for i in range(0, len(data), batch_size)]
    kept = Kept(engine, len(data), runs, Extent.of(data, chunks, engine))
    chosen, reason = (tier, "asked for") if tier != "auto" else kept.choose(data.collate(chunks[0]), budget_bytes)
    logger.info("engine tier: %s (%s)", chosen, reason)
    if chosen == "hooks":
        return Prepared(engine, "hooks", reason, runs, None)
    for rows in track(chunks, "reading sources and prefixes", disable=not progress, transient=True):
        kept.add(data.collate(rows), base=chosen == "all")
    return Prepared(engine, chosen, reason, runs, kept)


def why_not_resumable(engine: Engine) -> str | None:
    """Why this model or these sites need full forwards; None if they do not."""
    view = engine.view
    config = getattr(view.model, "config", None)
    if any(isinstance(m, nn.Dropout) and m.p > 0 and m.training for m in view.model.modules()):
        return "dropout is active: call model.eval()"
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "use_bidirectional_attention", False):
        return "attention is not causal"
    if view.family not in LAYOUTS:
        return "unknown model family: its state may not be keys and values only"
    if not all(site.resumable for site in engine.visited):
        return "a site lies before the first block"
    if any(b._forward_hooks or b._forward_pre_hooks for b in view.blocks):
        return "somebody else's hooks sit on the blocks"
    return None
