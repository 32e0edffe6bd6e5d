"""Random counterfactual pairs as tensors: rows of different lengths, padding on either side, positions of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from das.batch import PairBatch, Positions, TokenBatch

VOCAB = 64


@dataclass(frozen=True)
class RandomPairs:
    """A dataset of random token pairs.

    Attributes:
        rows: number of pairs.
        placements: per placement, names of the sources it reads.
        side: padding side.
        written: real positions written per row and placement; "last" writes the last prompt token only.
        labels: label tokens per row.
        lowest: smallest real position that may be written.
    """

    rows: int
    placements: Sequence[Sequence[str]]
    side: str = "left"
    written: int | str = 2
    labels: int = 1
    lowest: int = 0
    tokens: int = 22
    ragged: bool = True
    seed: int = 0
    vocab: int = VOCAB

    def __len__(self) -> int:
        return self.rows

    def collate(self, rows: Sequence[int]) -> PairBatch:
        made = [self._row(r) for r in rows]
        names = sorted({name for p in self.placements for name in p} | {"source"})
        base, shift = self._pad([m["base"] for m in made])
        sources, shifts = {}, {}
        for name in names:
            sources[name], shifts[name] = self._pad([m[name] for m in made])
        n = [len(m["base"]) - (self.labels - 1) for m in made]
        steps = torch.arange(self.labels)
        label_positions = torch.stack([s + k - 1 + steps for s, k in zip(shift, n, strict=True)])
        target_n = [len(m["source"]) - (self.labels - 1) for m in made]
        target_positions = torch.stack([s + k - 1 + steps for s, k in zip(shifts["source"], target_n, strict=True)])
        writes = tuple(self._positions([m["writes"][i] for m in made], shift) for i in range(len(self.placements)))
        reads = tuple(
            {name: self._positions([m["reads"][i] for m in made], shifts[name]) for name in p}
            for i, p in enumerate(self.placements)
        )
        return PairBatch(
            base=base, sources=sources, writes=writes, reads=reads, label_positions=label_positions,
            label_ids=torch.stack([m["label"] for m in made]),
            label_mask=torch.ones(len(made), self.labels, dtype=torch.bool),
            rows=torch.tensor(list(rows)), changed=torch.ones(len(made), dtype=torch.bool),
            target="source", target_positions=target_positions,
        )  # fmt: skip

    def _row(self, r: int) -> dict:
        g = torch.Generator().manual_seed(self.seed * 100_003 + r)

        def draw(low: int, high: int) -> int:
            return int(torch.randint(low, high, (), generator=g))

        n = self.tokens - (draw(0, 6) if self.ragged else 0)
        label = torch.randint(3, self.vocab, (self.labels,), generator=g)
        names = sorted({name for p in self.placements for name in p} | {"source"})
        row: dict = {"label": label}
        for name in ("base", *names):
            prompt = torch.randint(
                3, self.vocab, (n if name == "base" or not self.ragged else n - draw(0, 3),), generator=g
            )
            row[name] = torch.cat([prompt, label[:-1]])
        shortest = min(len(row[name]) for name in names) - (self.labels - 1)
        row["writes"], row["reads"] = [], []
        for _ in self.placements:
            if self.written == "last":
                row["writes"].append([n - 1])
                row["reads"].append([shortest - 1])
                continue
            count = self.written if not self.ragged else draw(1, self.written + 1)
            row["writes"].append(sorted((self.lowest + torch.randperm(n - self.lowest, generator=g)[:count]).tolist()))
            row["reads"].append(sorted(torch.randperm(shortest, generator=g)[:count].tolist()))
        return row

    def _pad(self, ids: list[torch.Tensor]) -> tuple[TokenBatch, list[int]]:
        longest = max(map(len, ids))
        out = torch.zeros(len(ids), longest, dtype=torch.long)
        mask = torch.zeros(len(ids), longest, dtype=torch.bool)
        shift = []
        for i, row in enumerate(ids):
            start = longest - len(row) if self.side == "left" else 0
            out[i, start : start + len(row)] = row
            mask[i, start : start + len(row)] = True
            shift.append(start)
        return TokenBatch(out, mask), shift

    @staticmethod
    def _positions(real: list[list[int]], shift: list[int]) -> Positions:
        longest = max(map(len, real))
        index = torch.zeros(len(real), longest, dtype=torch.long)
        mask = torch.zeros(len(real), longest, dtype=torch.bool)
        for i, (row, s) in enumerate(zip(real, shift, strict=True)):
            index[i, : len(row)] = torch.tensor(row) + s
            mask[i, : len(row)] = True
        return Positions(index, mask)
