"""Candidate directions: the difference in means at every site and token read (arXiv 2406.11717).

Equation   r = mean+ - mean-  at one site and one token, counted from the last one read; fp64
Tokens that not every prompt has are left out, and so are candidates where the two values do not differ.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from das.errors import InputError, SiteError
from das.estimators.base import NEGATIVE, POSITIVE, Entries, Examples, Found
from das.estimators.rounding import NEGLIGIBLE
from das.interventions.base import Intervention
from das.models.families import ModelView
from das.types import SOURCE, Site

logger = logging.getLogger("das.estimators")

#: Every position, the protected prefix (BOS, chat header) too: what an edit of weights does.
EVERYWHERE = "from:0"


@dataclass(frozen=True)
class Candidate:
    """One difference in means.

    Attributes:
        site: where it was read.
        offset: tokens between the one it was read at and the last one read; at most 0.
        vector: mean of the positive minus mean of the negative value.
    """

    site: Site
    offset: int
    vector: Float[Tensor, " width"]

    def __str__(self) -> str:
        at = self.site.read(SOURCE)
        return f"{at}" if not self.offset else f"{at}, {-self.offset} tokens earlier"


def residual_site(view: ModelView, site: Site) -> Site:
    """The site, hashable, if it is as wide as the residual stream.

    Raises:
        SiteError: it is not, so its directions mean nothing there.
    """
    width = view.bind(site).width
    if width != view.width:
        raise SiteError(
            f"directions of the residual stream ({view.width} wide) cannot be read here", got=f"{site}: {width}",
            remedy="read at block_input, block_output, attention_output or mlp_output",
        )  # fmt: skip
    return replace(site, source_positions=site.read(SOURCE).positions)


def differences(found: Mapping[Site, Found]) -> list[Candidate]:
    """All candidates, from the training examples.

    Raises:
        InputError: the two values differ nowhere.
        EmptySplitError: one of them has no example.
    """
    made = [Candidate(site, -n, vector) for site, one in found.items() for n, vector in _by_token(one.train)]
    if not made:
        raise InputError(
            "the two concept values do not differ anywhere, so there is no direction", got=", ".join(map(str, found)),
            remedy="read at other layers or positions",
        )  # fmt: skip
    return made


def everywhere(view: ModelView, components: tuple[str, ...], made: Intervention) -> Entries:
    """The same intervention at these components of every layer, all positions."""
    return [(Site(layer, name, EVERYWHERE), made) for layer in range(view.n_layers) for name in components]


def report(view: ModelView, chosen: Candidate, told: str = "") -> None:
    """Say in the log which candidate was chosen; not for a model without weights, where nothing was read."""
    if view.device.type != "meta":
        logger.info("direction read at %s%s", chosen, told)


def _by_token(examples: Examples) -> list[tuple[int, Float[Tensor, " width"]]]:
    """(tokens before the last one read, difference in means) where there is any."""
    back = _from_the_end(examples)
    common = min(int(back[examples.prompt == p].max()) for p in examples.prompt.unique())
    found = []
    for n in range(common + 1):
        sides = [examples.side(label, back == n) for label in (POSITIVE, NEGATIVE)]
        vector, size = sides[0].mean(0) - sides[1].mean(0), max(side.norm(dim=1).mean() for side in sides)
        if bool(vector.norm() > NEGLIGIBLE * size):
            found.append((n, vector))
    return found


def _from_the_end(examples: Examples) -> Tensor:
    """For every row, how many later tokens of its prompt were read."""
    order = examples.position.argsort(descending=True, stable=True)
    order = order[examples.prompt[order].argsort(stable=True)]
    counts = examples.prompt.unique(return_counts=True)[1]
    back = torch.empty_like(order)
    back[order] = torch.cat([torch.arange(int(n), device=order.device) for n in counts])
    return back
