"""Shape aliases (jaxtyping).

Axes: batch, tokens, position (intervened ones), width (activation), rank (features), label, vocab. What is read in a
source has an axis of its own, without a name: as many positions as are written, or one that is broadcast, or any number
where the edit does not need them aligned.
"""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

Ids = Int[Tensor, "batch tokens"]
TokenMask = Bool[Tensor, "batch tokens"]
Index = Int[Tensor, "batch position"]
PositionMask = Bool[Tensor, "batch position"]
Activation = Float[Tensor, "batch position width"]
SourceActivation = Float[Tensor, "batch _ width"]
Coordinates = Float[Tensor, "batch position rank"]
SourceCoordinates = Float[Tensor, "batch _ rank"]
Logits = Float[Tensor, "batch label vocab"]
LabelIds = Int[Tensor, "batch label"]
LabelColumns = Int[Tensor, "batch label"]
LabelMask = Bool[Tensor, "batch label"]
Basis = Float[Tensor, "width rank"]
