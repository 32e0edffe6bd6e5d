"""Logit differences of `das.tasks.ioi` under full patches: what MIB's linear model is fitted to (arXiv 2504.13151).

    heads = [Site(7, "head_attention_value_output", "all", heads=(3, 9)), Site(8, ..., heads=(6, 10))]  # GPT-2 small
    model_of_logits = fitted(logit_differences(model, IOI(kinds=FLIPS), heads))

`fitted` is least squares on these rows (`das.tasks.ioi_logits`). The sites are to carry both variables and are patched
together, whole; what they leave behind goes into the constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from das.data.dataset import PairDataset
from das.data.encode import Encoder
from das.data.placing import Where
from das.data.tokenize import Tokenizer
from das.engine.engine import Engine
from das.interventions.sets import InterventionSet
from das.methods.full_vector import full_vector
from das.metrics.base_logit_difference import BaseLogitDifference
from das.models.families import ModelView
from das.models.load import load_tokenizer
from das.tasks.ioi import IOI
from das.tasks.ioi_logits import Measured, signs_of
from das.types import SOURCE, Site


@torch.no_grad()
def logit_differences(
    model: nn.Module,
    task: IOI,
    sites: Sequence[Site],
    *,
    n: int = 256,
    split: str = "train",
    seed: int = 0,
    tokenizer: Tokenizer | None = None,
    batch_size: int = 64,
) -> list[Measured]:
    """t, p and logit(IO) - logit(S) of every pair while all sites hold what they hold in the source's run.

    Args:
        model: a frozen causal LM.
        task: with kinds of sources that reuse the base's names; which of its variables is interchanged plays no role.
        sites: where.
        n, split, seed: which pairs.
        tokenizer, batch_size: the model's own by default; pairs per forward.

    Raises:
        InputError: a source with other names than the base's.
        SiteError, PositionError: a site that does not exist in this model or in a prompt.
        LabelError: a name that is not a single token.
    """
    view = ModelView(model)
    encoder = Encoder.of(model, load_tokenizer(model) if tokenizer is None else tokenizer)
    pairs = task.pairs(split, n, seed)
    cells = [signs_of(pair) for pair in pairs]
    swaps = InterventionSet([(site, full_vector(view.bind(site).width)) for site in sites]).to(view.device).eval()
    where = [Where(site.positions, {SOURCE: site.read().positions}) for site in sites]
    data, engine = PairDataset(pairs, encoder, where, labels=task.labels), Engine(view.model, swaps.placements)
    found: list[float] = []
    for start in range(0, len(data), batch_size):
        batch = data.collate(range(start, min(start + batch_size, len(data)))).to(view.device)
        outputs = engine.outputs(batch, swaps, engine.sources(batch))
        found += BaseLogitDifference()(outputs, batch).tolist()
    return [(t, p, value) for (t, p), value in zip(cells, found, strict=True)]
