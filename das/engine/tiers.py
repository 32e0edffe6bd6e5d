"""What is computed once for a whole dataset, and what in every step.

    all      sources, targets, base residual and prefix keys/values are kept: a step resumes at the site
    prefix   sources and targets are kept; the base prefix is recomputed per step without gradient, then resumed
    hooks    nothing is kept: every step runs sources and base in full; the reference the others are tested against

What is kept is in memory as far as the budget goes, and else in a memory-mapped file that later runs of the same model,
data and sites use again. `prepare` picks the highest tier that the model, memory and disk allow, and says why.
"""

from __future__ import annotations

import logging
from typing import Literal, final, get_args

from torch import nn

from das.batch import PairBatch
from das.engine.disk import DiskCache, mib
from das.engine.engine import Engine
from das.engine.keeper import Keeper
from das.engine.kept import TIERS, Fresh, Kept, Stored, Tier
from das.engine.read import SourceState
from das.engine.resume import BaseState, base_state
from das.engine.store import Store
from das.engine.survey import PairData
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

    @property
    def head_shape(self) -> tuple[int, int]:
        """Vocabulary (0: unknown) and width of the head."""
        return int(getattr(self.engine.view.head, "out_features", 0)), self.engine.view.width

    def constant(self, batch: PairBatch) -> tuple[SourceState, BaseState | None]:
        """What does not depend on the interventions."""
        if self._kept is None:
            return self.engine.sources(batch, self.runs), None
        view, block = self.engine.view, self.engine.block
        return self._kept.sources(batch), (
            self._kept.state(batch) if self.tier == "all" else base_state(view, block, batch)
        )

    def fresh(self) -> Prepared:
        """The same, but with nothing kept: what kept tensors stand for is computed anew for each batch."""
        kept = None if self._kept is None else Fresh(self.engine, self.runs)
        return Prepared(self.engine, self.tier, "computed anew", self.runs, kept)

    @property
    def rounded(self) -> bool:
        """Whether what is kept is rounded to a smaller dtype than the model's."""
        return self._kept is not None and self._kept.rounded

    @property
    def nbytes(self) -> int:
        """Memory held for the dataset; what is mapped from a file does not count."""
        return 0 if self._kept is None else self._kept.nbytes


def prepare(
    engine: Engine,
    data: PairData,
    *,
    runs: frozenset[FrozenRun] = frozenset(),
    tier: Tier | Literal["auto"] = "auto",
    budget_bytes: int = 4 << 30,
    batch_size: int = 256,
    store: Store = "model",
    cache: DiskCache | None = None,
    progress: bool = False,
) -> Prepared:
    """Collect what the tier keeps, in one pass over the data without gradients, or find it on disk.

    Args:
        engine: model and placements.
        data: the dataset the steps will take their batches from.
        runs: frozen runs whose logits are needed beside the intervened run's.
        tier: "auto" picks the highest tier that fits; a tier that the model does not allow falls back to "hooks".
        budget_bytes: most memory the kept tensors may take where they can be on disk or, under "auto", be left out.
        batch_size: most rows per collecting forward.
        store: "bfloat16" rounds what is kept, which halves it where the model computes in float32.
        cache: where kept tensors go that are over the budget; None for nowhere.
        progress: show a progress bar.
    """
    if tier not in (*TIERS, "auto"):
        raise UnknownChoiceError("engine tier", tier, (*TIERS, "auto"))
    if store not in (known := get_args(Store)):
        raise UnknownChoiceError("way to store kept activations", store, known)
    chosen: Tier
    kept: Kept | None
    obstacle = why_not_resumable(engine)
    if tier == "hooks" or obstacle:
        chosen, reason, kept = "hooks", obstacle or "asked for", None
    else:
        keeper = Keeper(engine, data, runs, store, cache, batch_size, progress)
        chosen, reason, kept = _keep(keeper, tier, budget_bytes)
        reason += ", in bfloat16" if kept is not None and store == "bfloat16" else ""
    logger.info("engine tier: %s (%s)", chosen, reason)
    return Prepared(engine, chosen, reason, runs, kept)


def _keep(keeper: Keeper, tier: Tier | Literal["auto"], budget: int) -> tuple[Tier, str, Kept | None]:
    """The first of these that is possible: on disk by an earlier run, in memory, on disk; a higher tier first."""
    asked: tuple[Tier, ...] = ("all", "prefix") if tier == "auto" else (tier,)
    if (earlier := keeper.earlier(asked[0])) is not None:
        return asked[0], f"kept on disk by an earlier run: {keeper.file(asked[0])}", earlier
    obstacle = ""
    for chosen in asked:
        size = mib(keeper.size(chosen))
        if keeper.size(chosen) <= budget:
            return chosen, f"{size} of a budget of {mib(budget)}{obstacle}", keeper.in_memory(chosen)
        kept = keeper.on_disk(chosen)
        if isinstance(kept, Kept):
            return chosen, f"{size}, over the budget of {mib(budget)}: on disk, {keeper.file(chosen)}", kept
        obstacle = f"; tier {chosen} needs {size}, {kept}"
    if tier != "auto":
        return tier, f"asked for, though over the budget of {mib(budget)}{obstacle}", keeper.in_memory(tier)
    return "hooks", f"over the budget of {mib(budget)}{obstacle}", None


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
    if any(m._forward_hooks or m._forward_pre_hooks for m in view.blocks.modules()):
        return "somebody else's hooks sit in the blocks"
    return None
