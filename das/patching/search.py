"""Which range of layers decides, found with few patches: two binary searches and a refinement.

The range's components are patched together at the answer's position, the base running with the source's activations. A
look at the residual stream after every block (logit lens) says how likely the source's answer is by then:

    1. the smallest U such that patching [0, U) brings max over depth of mean p(source's answer) above `threshold`
    2. the largest L such that patching [L, U) still does
    3. while p(source's answer) <= p(base's answer) + eps at the end, add the first later layer at which the
       source's answer loses more than `phi`: it writes the base's answer back

Source: kdu4108/context-vs-prior-finetuning and jkminder/nnpatch (controllable context sensitivity), and the defaults.
Cost: about 2 log2(layers) + 1 patched runs, and one per layer added. It assumes that more patched layers never hurt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from das.errors import CapabilityError


@dataclass(frozen=True)
class Lens:
    """Mean probabilities after every block: of the source's answer, and of the base's own."""

    source: Sequence[float]
    base: Sequence[float]


@dataclass(frozen=True)
class Search:
    """Thresholds of the search.

    Attributes:
        threshold: what max over depth of p(source's answer) must exceed.
        eps: by how much the source's answer must win at the end.
        phi: a loss from one layer to the next that counts.
    """

    threshold: float = 0.85
    eps: float = 0.3
    phi: float = 0.05


@dataclass(frozen=True)
class LayerRange:
    """What the search found.

    Attributes:
        lower, upper: the range [lower, upper).
        layers: it and the layers that were added.
        lens: of the run in which they are all patched.
        wins: whether the source's answer wins at the end.
        runs: how many patched runs it took.
    """

    lower: int
    upper: int
    layers: tuple[int, ...]
    lens: Lens
    wins: bool
    runs: int


def search(patched: Callable[[tuple[int, ...]], Lens], n_layers: int, settings: Search | None = None) -> LayerRange:
    """Search the range.

    Args:
        patched: layers that are patched together -> what the lens sees.
        n_layers: of the model.
        settings: thresholds.

    Raises:
        CapabilityError: not even all layers together bring the source's answer above the threshold.
    """
    how, known = settings or Search(), dict[tuple[int, ...], Lens]()

    def seen(layers: tuple[int, ...]) -> Lens:
        if layers not in known:
            known[layers] = patched(layers)
        return known[layers]

    def enough(lower: int, upper: int) -> bool:
        return max(seen(tuple(range(lower, upper))).source) > how.threshold

    if not enough(0, n_layers):
        raise CapabilityError(
            "patching all layers does not bring the source's answer above the threshold",
            got=f"{max(seen(tuple(range(n_layers))).source):.3f}, threshold {how.threshold}",
            remedy="patch other positions or another component, or lower the threshold",
        )  # fmt: skip
    upper = _first(1, n_layers, lambda u: enough(0, u))
    lower = _first(0, upper - 1, lambda k: not enough(k + 1, upper)) if upper > 1 else 0
    layers = tuple(range(lower, upper))
    while not (won := _wins(seen(layers), how)):
        source = seen(layers).source
        later = range(layers[-1] + 1, n_layers)
        losing = [j for j in later if source[j - 1] - source[j] > how.phi]
        if not losing:
            break
        layers = (*layers, losing[0])
    return LayerRange(lower, upper, layers, seen(layers), won, len(known))


def _wins(lens: Lens, how: Search) -> bool:
    return lens.source[-1] > lens.base[-1] + how.eps


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The smallest number in [low, high] that holds, if all larger ones do and `high` does."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
