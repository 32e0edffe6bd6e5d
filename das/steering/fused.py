"""An affine steering edit as two matrix products: in decoding, a forward is so small that every operation counts.

Equation   h' = h + (h read + shift) write^T
Shapes     h (B, T, width); read, write (width, rank); shift (rank,), or one per given factor
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from das.errors import CapabilityError
from das.featurizers.identity import Identity
from das.interventions.affine import AffineMap, affine_map
from das.interventions.base import Intervention
from das.shapes import Activation
from das.steering.calls import expand_rows

#: Most different factors whose maps are worked out, and most coordinates: beyond, starting takes longer than it saves.
_FACTORS, _RANK = 64, 64


@final
class Fused:
    """One intervention, for the factors given.

    Args:
        maps: of the different factors; equal but for their offsets.
        which: the map of each factor given.
    """

    def __init__(self, maps: list[AffineMap], which: list[int]) -> None:
        self._exact = maps[0].read.T, maps[0].write, torch.stack([maps[i].shift for i in which])
        self._here = self._exact

    def __call__(self, h: Activation) -> Activation:
        """The edited activation, in its own dtype."""
        if torch.is_autocast_enabled(h.device.type):
            with torch.autocast(h.device.type, enabled=False):
                return self._edited(h)
        return self._edited(h)

    def _edited(self, h: Activation) -> Activation:
        dtype, here = torch.promote_types(h.dtype, torch.float32), self._here[0]
        if here.dtype != dtype or here.device != h.device:
            self._move(h.device, dtype)
        read, write, shift = self._here
        x = h if h.dtype == dtype else h.to(dtype)
        if len(shift) == 1:
            change = linear(x, read, shift[0])
        else:
            change = linear(x, read) + expand_rows(shift, len(x), "factors")[:, None]
        edited = torch.addcmul(x, change, write[:, 0]) if len(read) == 1 else x + linear(change, write)
        return edited if h.dtype == dtype else edited.to(h.dtype)

    def _move(self, device: torch.device, dtype: torch.dtype) -> None:
        """To where activations are, in fp32 or better."""
        with torch.inference_mode(False):  # what is made in that mode can never be differentiated through
            read, write, shift = (x.to(device, dtype).contiguous() for x in self._exact)
        self._here = read, write, shift


def fused(intervention: Intervention, factor: Float[Tensor, " given"] | None) -> Fused | None:
    """The edit as products; None where it is no affine map of the activation, where factors change more of it than its
    offset, and where these products would be large or many.
    """
    if isinstance(intervention.featurizer, Identity) or intervention.rank > _RANK:
        return None
    factors, which = (None, torch.zeros(1, dtype=torch.long)) if factor is None else factor.unique(return_inverse=True)
    if factors is not None and len(factors) > _FACTORS:
        return None
    try:
        maps = [affine_map(intervention, f) for f in ([None] if factors is None else factors.split(1))]
    except CapabilityError:
        return None
    if any(not torch.equal(m.read, maps[0].read) or not torch.equal(m.write, maps[0].write) for m in maps):
        return None
    return Fused(maps, which.tolist())
