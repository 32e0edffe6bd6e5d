"""Autoencoders from files, whichever way round their matrices are stored."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from das.errors import InputError
from das.featurizers.sae import Sae

WIDTH = 8


@pytest.mark.parametrize("latents", [12, WIDTH])
@pytest.mark.parametrize("linear", [True, False], ids=["nn.Linear", "W_enc"])
def test_the_way_round_follows_the_name_also_where_both_are_square(latents, linear, tmp_path):
    encoder, decoder, h = torch.randn(WIDTH, latents), torch.randn(latents, WIDTH), torch.randn(2, 3, WIDTH)
    named = (
        {"encoder.weight": encoder.T.contiguous(), "decoder.weight": decoder.T.contiguous()}
        if linear
        else {"W_enc": encoder, "W_dec": decoder}
    )
    save_file(named, tmp_path / "sae.safetensors")
    sae = Sae.from_file(tmp_path / "sae.safetensors", WIDTH)
    z = sae.coordinates(h)
    torch.testing.assert_close(z, (h @ encoder).relu())
    torch.testing.assert_close(sae.lift(z, z), (h @ encoder).relu() @ decoder)


def test_jumprelu_needs_thresholds(tmp_path):
    save_file({"W_enc": torch.ones(WIDTH, 4), "W_dec": torch.ones(4, WIDTH)}, tmp_path / "sae.safetensors")
    with pytest.raises(InputError, match="threshold"):
        Sae.from_file(tmp_path / "sae.safetensors", WIDTH, activation="jumprelu")
