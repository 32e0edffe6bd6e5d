"""What a recipe is, and how recipes are found: module NAME defines a `RECIPE`, and NAME is the model's name.

Everything is drawn from fixed seeds. Same torch, same kind of CPU: same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from das.members import Members
from das.seeding import seeded
from das.shapes import Basis
from das.types import Site

#: Called with the step and its loss after every training step.
Report = Callable[[int, float], None]

#: A second core gains little at these sizes, and loses much where it is shared.
THREADS = 1


@dataclass(frozen=True)
class Planted:
    """Where a variable is, in a model that was made so.

    Attributes:
        site: the site that carries it.
        basis: orthonormal directions that carry it there, (width, rank), and nothing else.
    """

    site: Site
    basis: Basis


def no_variables() -> Mapping[str, Planted]:
    """Nothing is known of the model's insides."""
    return {}


@dataclass(frozen=True)
class Recipe:
    """How a model is made.

    Attributes:
        title: what it is called while it is made.
        config: the architecture; needs no training.
        tokenizer: made anew within a second.
        make: the model, frozen or not, given its tokenizer.
        sources: names of the modules whose text determines the weights.
        steps: how often `make` reports; 0 where nothing is trained.
        planted: variable of the task it does -> where it is.
    """

    title: str
    config: Callable[[], PretrainedConfig]
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    make: Callable[[PreTrainedTokenizerFast, Report], PreTrainedModel]
    sources: tuple[str, ...]
    steps: int = 0
    planted: Callable[[], Mapping[str, Planted]] = no_variables


_MEMBERS = Members(__package__ or "", "RECIPE", "model of this package")


def names() -> tuple[str, ...]:
    """All recipes; finding them imports none."""
    return _MEMBERS.names()


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownChoiceError: there is none.
    """
    found: Recipe = _MEMBERS.get(name)
    return found


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Fixed seed, threads and gradients inside; whatever was there before, outside."""
    threads = torch.get_num_threads()
    with seeded(seed), torch.inference_mode(False), torch.enable_grad(), torch.device("cpu"):
        torch.set_num_threads(THREADS)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
