"""CDAS at all positions, 32-token responses, against the CDAS code's schedule: source, base, and source forward again.

Their schedule has full logits of every token of all three forwards; a second setting has a vocabulary of 128k, 512
response tokens and batch 2, where ours must not keep responses x vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from das.batch import PairBatch, Positions
from das.engine.engine import Engine
from das.engine.tiers import prepare
from das.interventions.sets import InterventionSet, Placement
from das.methods.cdas import cdas
from das.objectives.jsd import JSD
from das.types import Site
from scripts.benchmarks.harness import Result, compare, peak_of, same
from scripts.benchmarks.setting import BATCH, LAYER, WIDTH, Ours, llama
from tests.engine.pairs import RandomPairs

BAR = ">= 3, memory <= 0.4; at vocabulary 128k, 512 response tokens and batch 2 memory <= 0.2"
PROMPT, RESPONSE = 33, 32


def run() -> Result:
    """Assert equality, time; then peak memory at a large vocabulary."""
    theirs, mine, errors = _sides(llama(), Everywhere(BATCH, PROMPT, RESPONSE), BATCH)
    result, kept = compare(theirs.step, mine.step, **errors), mine.prepared.nbytes >> 20
    large = llama(layers=2, vocab=128_000, context=1024)
    theirs, mine, more = _sides(large, Everywhere(2, PROMPT, 512, vocab=128_000), 2, layer=0)
    peaks = peak_of(theirs.step), peak_of(mine.step)
    result.notes.update({
        "kept_mib": kept,
        "memory_ratio_128k": peaks[1] / peaks[0], "peer_mib_128k": peaks[0] >> 20, "das_mib_128k": peaks[1] >> 20,
        "grad_rel_err_128k": more["grad_rel_err"],
    })  # fmt: skip
    return result


@dataclass(frozen=True)
class Everywhere:
    """Random pairs: the source read at its last prompt token, the base written everywhere after the first token."""

    rows: int
    prompt: int
    response: int
    vocab: int = 8000

    def __len__(self) -> int:
        return self.rows

    def collate(self, rows: Sequence[int]) -> PairBatch:
        """All rows equally long."""
        batch = RandomPairs(
            self.rows, [["source"]], labels=self.response, tokens=self.prompt, ragged=False, vocab=self.vocab
        ).collate(rows)  # the last response token is predicted, not fed
        length = batch.base.ids.shape[1]
        everywhere = torch.arange(1, length).expand(len(rows), -1)
        read = batch.label_positions[:, :1]
        write = Positions(everywhere, torch.ones_like(everywhere).bool())
        return replace(batch, writes=(write,), reads=({"source": Positions(read, torch.ones_like(read).bool())},))


class Schedule:
    """The CDAS code's step: forwards of the source to read, of the base with a hook, of the source for its logits."""

    def __init__(self, model: nn.Module, batch: PairBatch, direction: Tensor, layer: int) -> None:
        self.model, self.batch, self.layer = model, batch, layer
        self.weight = nn.Parameter(direction.clone())
        self.optimizer = torch.optim.AdamW([self.weight], lr=1e-3, weight_decay=0)

    def loss(self) -> Tensor:
        """JSD over the response tokens."""
        batch, block = self.batch, self.model.model.layers[self.layer]
        found: list[Tensor] = []
        handle = block.register_forward_hook(lambda *a: found.append(a[2].detach()))
        with torch.no_grad():
            self._run(batch.sources["source"])
        handle.remove()
        read, write = batch.reads[0]["source"].index, batch.writes[0].index
        source = found[0].gather(1, read[..., None].expand(-1, -1, found[0].shape[-1]))

        def swap(module: nn.Module, args: object, h: Tensor) -> Tensor:
            at = write[..., None].expand(-1, -1, h.shape[-1])
            picked = h.gather(1, at)
            return h.scatter(1, at, picked + ((source - picked) @ self.weight)[..., None] * self.weight)

        handle = block.register_forward_hook(swap)
        logits = self._run(batch.base)
        handle.remove()
        with torch.no_grad():
            target = self._run(batch.sources["source"])
        rows = torch.arange(len(logits))[:, None]
        log_p, log_q = (
            x[rows, at].float().log_softmax(-1)
            for x, at in ((logits, batch.label_positions), (target, batch.target_positions))
        )
        log_m = torch.logaddexp(log_p, log_q) - math.log(2)
        divergences = [F.kl_div(log_m, x, reduction="none", log_target=True).sum(-1) for x in (log_p, log_q)]
        return 0.5 * (divergences[0] + divergences[1]).mean()

    def step(self) -> None:
        """Forward, backward, optimiser, unit length."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        self.optimizer.step()
        with torch.no_grad():
            self.weight /= self.weight.norm()

    def _run(self, tokens: object) -> Tensor:
        return self.model(
            input_ids=tokens.ids, attention_mask=tokens.mask.long(), position_ids=tokens.position_ids, use_cache=False
        ).logits


def _sides(
    model: nn.Module, data: Everywhere, rows: int, layer: int = LAYER
) -> tuple[Schedule, Ours, dict[str, float]]:
    torch.manual_seed(1)
    site = Site(layer)
    interventions = InterventionSet([(Placement(site, {"source": site}), cdas(WIDTH))])
    prepared = prepare(Engine(model, interventions.placements), data, runs=frozenset({"target"}), tier="all")
    batch = data.collate(range(rows))
    weight = interventions[0].featurizer.weight
    optimizer = torch.optim.AdamW(interventions.parameters(), lr=1e-3, weight_decay=0)
    mine = Ours(prepared, interventions, batch, optimizer, JSD())
    theirs = Schedule(model, batch, weight.detach()[:, 0], layer)
    wanted, loss = theirs.loss(), mine.loss()
    [theirs_gradient], [gradient] = torch.autograd.grad(wanted, [theirs.weight]), torch.autograd.grad(loss, [weight])
    return theirs, mine, same((wanted.detach(), loss.detach()), (theirs_gradient, gradient[:, 0]))
