"""SAE: coordinates are the latents of a sparse autoencoder, any encoder/decoder pair read from a safetensors file.

Equation   coordinates(h) = act((h - subtract b_dec) W_enc + b_enc),  lift(dz) = dz W_dec
           act: relu; jumprelu, x 1[x > threshold]; topk, relu of the k largest; identity
Shapes     W_enc (width, latents), W_dec (latents, width), b_enc, threshold (latents,), b_dec (width,)
The autoencoder's reconstruction error cancels, because only changes of latents are written: h' = h + dec(z') - dec(z).
Raises     InputError for a file without these tensors or with shapes that do not fit
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from das.context import Context
from das.errors import InputError, UnknownChoiceError
from das.featurizers.base import Featurizer
from das.shapes import Activation, Coordinates, SourceActivation, SourceCoordinates

Nonlinearity = Literal["relu", "jumprelu", "topk", "identity"]
_ACTIVATIONS: tuple[Nonlinearity, ...] = ("relu", "jumprelu", "topk", "identity")
#: Our name -> names that published autoencoders use; matrices may be stored either way round.
_NAMES = {
    "w_enc": ("W_enc", "w_enc", "encoder.weight"),
    "w_dec": ("W_dec", "w_dec", "decoder.weight"),
    "b_enc": ("b_enc", "encoder.bias"),
    "b_dec": ("b_dec", "decoder.bias"),
    "threshold": ("threshold",),
}
#: Names of torch's linear layers, which hold (outputs, inputs).
_LINEAR = frozenset({"encoder.weight", "decoder.weight"})


@final
class Sae(Featurizer):
    """A frozen sparse autoencoder.

    Args:
        width: activation size.
        rank: number of latents.
        activation: "relu", "jumprelu", "topk" or "identity".
        k: latents kept by "topk".
        subtract_decoder_bias: whether the encoder is applied to h - b_dec.
        tensors: W_enc, W_dec, b_enc, b_dec and threshold by our names; zeros where absent.

    Raises:
        InputError: a tensor of another shape, or "jumprelu" without thresholds.
    """

    def __init__(
        self,
        width: int,
        rank: int,
        activation: Nonlinearity = "relu",
        k: int = 32,
        subtract_decoder_bias: bool = False,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise UnknownChoiceError("activation of an autoencoder", activation, _ACTIVATIONS)
        if activation == "jumprelu" and tensors is not None and "threshold" not in tensors:
            raise InputError("jumprelu needs a threshold per latent", got=str(sorted(tensors)), remedy='use "relu"')
        self.width, self.rank, self.activation, self.k = width, rank, activation, k
        self.subtract_decoder_bias = subtract_decoder_bias
        shapes = {
            "w_enc": (width, rank), "w_dec": (rank, width), "b_enc": (rank,), "b_dec": (width,), "threshold": (rank,)
        }  # fmt: skip
        for name, shape in shapes.items():
            given = None if tensors is None else tensors.get(name)
            if given is not None and tuple(given.shape) != shape:
                raise InputError(
                    f"{name} of the autoencoder has the wrong shape", got=f"{tuple(given.shape)} for {shape}"
                )
            self.register_buffer(name, torch.zeros(shape) if given is None else given.detach().float().clone())

    w_enc: Tensor
    w_dec: Tensor
    b_enc: Tensor
    b_dec: Tensor
    threshold: Tensor

    @classmethod
    def from_file(cls, path: str | Path, width: int, **settings: Any) -> Sae:
        """Read an autoencoder of this width.

        Raises:
            InputError: no such file, no encoder or decoder in it, or another width.
        """
        try:
            found = load_file(Path(path).expanduser())
        except (OSError, SafetensorError) as error:
            raise InputError("the autoencoder cannot be read", got=str(path), remedy=str(error)) from error
        named = {ours: n for ours, names in _NAMES.items() for n in names if n in found}
        tensors = {ours: found[n].T if n in _LINEAR else found[n] for ours, n in named.items()}
        if missing := {"w_enc", "w_dec"} - set(tensors):
            raise InputError(
                f"the file lacks {', '.join(sorted(missing))}", got=f"{path} with {sorted(found)}",
                remedy="store W_enc (width, latents) and W_dec (latents, width)",
            )  # fmt: skip
        rank = next((n for n in tensors["w_enc"].shape if n != width), width)
        for name, shape in (("w_enc", (width, rank)), ("w_dec", (rank, width))):
            if tensors[name].shape != shape:
                tensors[name] = tensors[name].T
        if tensors["w_enc"].shape != (width, rank) or tensors["w_dec"].shape != (rank, width):
            raise InputError("the autoencoder has another width", got=f"{tuple(tensors['w_enc'].shape)}, site {width}")
        return cls(width, rank, tensors=tensors, **settings)

    def frame(self, ctx: Context) -> Sae:
        """Itself."""
        return self

    def coordinates(self, h: SourceActivation) -> SourceCoordinates:
        """Latents."""
        x = h - self.b_dec.to(h.dtype) if self.subtract_decoder_bias else h
        pre = x @ self.w_enc.to(h.dtype) + self.b_enc.to(h.dtype)
        match self.activation:
            case "identity":
                return pre
            case "relu":
                return pre.relu()
            case "jumprelu":
                return torch.where(pre > self.threshold.to(pre), pre, 0.0).relu()
        kept = pre.topk(min(self.k, self.rank), -1)
        return torch.zeros_like(pre).scatter(-1, kept.indices, kept.values.relu())

    def lift(self, dz: Coordinates, z: Coordinates) -> Activation:
        """Decoded change; the decoder's bias cancels."""
        return dz @ self.w_dec.to(dz.dtype)

    def params(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "width": self.width, "rank": self.rank, "activation": self.activation, "k": self.k,
            "subtract_decoder_bias": self.subtract_decoder_bias,
        }  # fmt: skip
