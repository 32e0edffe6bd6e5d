"""Randomness that nobody outside notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generators of the CPU and of all GPUs start from a seed inside, and are outside what they were.

    GPUs are left alone until something uses them: seeding them earlier would outlive the block.
    """
    with torch.random.fork_rng(devices=_gpus()):
        for generator in _generators():
            generator.manual_seed(seed)
        yield


@final
class Stream:
    """Random numbers that go on where they stopped, whatever others draw in between.

    Args:
        seed: what they start from.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._states: list[Tensor] | None = None

    @contextmanager
    def inside(self) -> Iterator[None]:
        """torch's generators are this stream's inside, and are outside what they were."""
        with seeded(self._seed):
            generators = _generators()
            for generator, state in zip(generators, self._states or (), strict=False):
                generator.set_state(state)
            yield
            self._states = [generator.get_state() for generator in generators]


def _gpus() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []


def _generators() -> tuple[torch.Generator, ...]:
    return torch.default_generator, *(torch.cuda.default_generators[i] for i in _gpus())
