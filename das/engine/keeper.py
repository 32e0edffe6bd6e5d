"""Collecting what an engine keeps of a dataset: in one pass without gradients, into memory or into a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
from rich.progress import track
from torch import Tensor

from das.engine.disk import DiskCache, mib
from das.engine.engine import Engine
from das.engine.identity import hashed, hashed_weights, identity, why_not_identified
from das.engine.kept import Kept, Tier, axis_of, forms
from das.engine.mapped import read, write
from das.engine.store import Form, Store, TokenStore, stored
from das.engine.survey import PairData, Survey
from das.outputs import FrozenRun

logger = logging.getLogger("das.engine")


@final
class Keeper:
    """Knows how large what a tier keeps is, and makes it.

    Args:
        engine, data, runs: see `das.engine.tiers.prepare`.
        store: what is kept is rounded to this.
        cache: where files go; None for none.
        batch_size: most rows per forward.
        progress: show a progress bar.
    """

    def __init__(
        self,
        engine: Engine,
        data: PairData,
        runs: frozenset[FrozenRun],
        store: Store,
        cache: DiskCache | None,
        batch_size: int,
        progress: bool,
    ) -> None:
        self.engine, self.data, self.runs, self.store, self.cache = engine, data, runs, store, cache
        self.batch_size, self.progress = batch_size, progress
        self.survey = Survey(data, engine)

    def size(self, tier: Tier) -> int:
        """Bytes that the tier's tensors take."""
        return sum(
            self._shape(name, form)[0] * form.bytes_per_token(self.store) for name, form in self._forms(tier).items()
        )

    def in_memory(self, tier: Tier) -> Kept:
        """Collect into memory, where the model computes each tensor."""
        blank = {
            name: torch.zeros(self._shape(name, form), dtype=stored(form.dtype, self.store), device=form.device)
            for name, form in self._forms(tier).items()
        }
        return self._filled(blank, self._forms(tier), in_memory=True)

    def earlier(self, tier: Tier) -> Kept | None:
        """What an earlier run kept of the same model, data and sites on disk; None if there is nothing."""
        if self.cache is None or self._why_no_file or not self.cache.may_have(self._half(tier)):
            return None
        key = self._key(tier)
        if not (file := self.cache.file(key)).exists():
            return None
        found = read(file)
        if found is None or found[1].get("key") != key:
            logger.warning("%s is damaged and made anew", file)
            self.cache.discard(key)
            return None
        self.cache.touch(key)
        tensors, metadata = found
        described: Mapping[str, tuple[str, str]] = json.loads(metadata["forms"])
        stores = {name: TokenStore(data, self._form(data, *described[name])) for name, data in tensors.items()}
        return Kept(self.engine, self.survey, stores, in_memory=False)

    def on_disk(self, tier: Tier) -> Kept | str:
        """Collect into a file, or take the one that is there; else why that is impossible."""
        if self.cache is None:
            return "no disk cache"
        if self._why_no_file:
            return self._why_no_file
        key = self._key(tier)
        if obstacle := None if self.cache.file(key).exists() else self.cache.make_room(self.size(tier)):
            return obstacle
        try:
            with self.cache.lock(key):
                if (earlier := self.earlier(tier)) is None:
                    self._write(tier, self.cache.file(key))
                    earlier = self.earlier(tier)
        except OSError as error:
            return f"no disk cache in {self.cache.folder}: {error.strerror or error}"
        return earlier or f"no disk cache in {self.cache.folder}: a file was removed at once"

    def file(self, tier: Tier) -> Path:
        """Where the tier's file is."""
        assert self.cache is not None
        return self.cache.file(self._key(tier))

    def _write(self, tier: Tier, file: Path) -> None:
        logger.info("writing %s to %s", mib(self.size(tier)), file)
        found, home = self._forms(tier), self.engine.view.device
        described = {n: (str(f.dtype), "" if f.device == home else str(f.device)) for n, f in found.items()}
        metadata = {"key": self._key(tier), "about": json.dumps(self._about(tier)), "forms": json.dumps(described)}
        blank = {name: (stored(form.dtype, self.store), self._shape(name, form)) for name, form in found.items()}

        def fill(tensors: Mapping[str, Tensor]) -> None:
            self._filled(tensors, found, in_memory=False)

        write(file, blank, metadata, fill)

    def _filled(self, blank: Mapping[str, Tensor], found: Mapping[str, Form], in_memory: bool) -> Kept:
        """One pass over the data, rows of similar length together."""
        stores = {name: TokenStore(data, found[name]) for name, data in blank.items()}
        kept = Kept(self.engine, self.survey, stores, in_memory)
        chunks = self.survey.chunks(self.batch_size)
        for rows in track(chunks, "reading sources and prefixes", disable=not self.progress, transient=True):
            kept.add(self.data.collate(rows))
        return kept

    def _forms(self, tier: Tier) -> Mapping[str, Form]:
        base = tier == "all"
        return {n: f for n, f in self._measured.items() if base or n.split(".")[0] in ("read", "hidden")}

    @cached_property
    def _measured(self) -> Mapping[str, Form]:
        """All that could be kept, measured on one row."""
        return forms(self.engine, self.data.collate([self.survey.fullest]), self.runs, base=True)

    def _shape(self, name: str, form: Form) -> tuple[int, ...]:
        return (self.survey.axes[axis_of(name)].total + 1, *form.shape)

    def _form(self, data: Tensor, dtype: str, device: str) -> Form:
        home = torch.device(device) if device else self.engine.view.device
        return Form(tuple(data.shape[1:]), getattr(torch, dtype.removeprefix("torch.")), home)

    @cached_property
    def _why_no_file(self) -> str | None:
        obstacle = why_not_identified(self.engine, self.data)
        return obstacle and f"not on disk, because {obstacle}"

    def _key(self, tier: Tier) -> str:
        return f"{self._half(tier)}-{self._weights}"

    def _half(self, tier: Tier) -> str:
        return hashed({**self._identity, "tier": tier})

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return identity(self.engine, self.data, self.survey, self.runs, self.store)

    @cached_property
    def _weights(self) -> str:
        return hashed_weights(self.engine)

    def _about(self, tier: Tier) -> dict[str, Any]:
        model = self.engine.view.model
        name = getattr(getattr(model, "config", None), "_name_or_path", "") or type(model).__name__
        about = getattr(self.data, "about", "")
        return {"model": str(name), "data": about, "rows": len(self.data), "tier": tier}
