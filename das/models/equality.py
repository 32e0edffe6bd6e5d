"""A Llama that solves hierarchical equality by construction: which direction carries what is known exactly.

Three blocks, all that matters at the last token of "<s> W X Y Z =" (prompts of `das.tasks.hierarchical_equality`):

    block 0    four heads, each attending to the token a fixed distance back (by its rotary phase alone), copy the codes
               of W, X, Y and Z into slots of their own; the MLP multiplies codes, exactly: w.x and y.z
    block 1    the MLP turns each product into a bit: WX = +A if W = X, else -A, and YZ alike
    block 2    the MLP multiplies the bits: the answer is the sign of WX YZ

So the output of block 1 carries WX and YZ along one direction each, besides the codes and their products, which nothing
reads any more: nuisance that differs from prompt to prompt. A gated MLP multiplies because
silu(u) v + silu(-u)(-v) = u v. Codes are the 32 words of 6 signs of even parity: w.w = 6, and w.x <= 2 for others.

Equation   every weight is B W B^T of a weight W between named features; B (width x 30) is the caller's, orthonormal
Shapes     hidden states (batch, tokens, width), width >= 30
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.recipes.base import Planted, Recipe
from das.models.word_tokenizer import BOS, EOS, PAD, SPECIAL, word_tokenizer
from das.shapes import Basis
from das.tasks.hierarchical_equality import LABELS, OBJECTS
from das.types import Site

SIGNS: Final = 6
#: First feature of each object's code.
SLOTS: Final = {"W": 0, "X": 6, "Y": 12, "Z": 18}
#: A constant, the products of codes, the bits, the answer.
CONSTANT, PRODUCT_WX, PRODUCT_YZ, WX, YZ, ANSWER = range(24, 30)
FEATURES: Final = 30

#: Sizes of those features. The constant dominates, so that norms hardly depend on the prompt.
_CONSTANT, _PRODUCT, _BIT, _ANSWER = 4.0, 0.1, 2.0, 4.0
#: Logits: of the right answer the positive one, of the wrong one the negative, of everything else.
_LOGIT, _OTHER = 3.0, -8.0
#: Attention score of the token attended to, and sharpness of the step from a product to a bit.
_SCORE, _SHARP = 80.0, 20.0
_CONTEXT = 32


def equality_config(width: int) -> LlamaConfig:
    """The architecture."""
    return LlamaConfig(
        vocab_size=len(SPECIAL) + len(OBJECTS) + 1 + len(LABELS),
        hidden_size=width,
        intermediate_size=4 * SIGNS,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=SIGNS,
        rms_norm_eps=1e-8,
        max_position_embeddings=_CONTEXT,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )


def equality_tokenizer() -> PreTrainedTokenizerFast:
    """Objects, the equals sign, the answers."""
    return word_tokenizer([*OBJECTS, "=", *(label.strip() for label in LABELS)], _CONTEXT)


@torch.no_grad()
def equality_model(basis: Basis, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The model whose features lie along the columns of `basis`, (width, 30) orthonormal."""
    width = basis.shape[0]
    model = LlamaForCausalLM(equality_config(width))
    for name, parameter in model.named_parameters():
        parameter.fill_(1.0 if "norm" in name else 0.0)
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    embedding[:] = _embedding(tokenizer) @ basis.T
    _attend(model.model.layers[0].self_attn, basis, math.sqrt(_CONSTANT**2 + SIGNS))
    square = _CONSTANT**2 + 4 * SIGNS
    _fill(model.model.layers[0].mlp, basis, _products(), math.sqrt(square))
    _fill(model.model.layers[1].mlp, basis, _bits(), math.sqrt(square))
    square += 2 * _BIT**2
    _fill(model.model.layers[2].mlp, basis, _answer(), math.sqrt(square))
    square += _ANSWER**2
    head[:] = _head(tokenizer) @ basis.T * math.sqrt(square / width)
    return model


def equality_recipe(title: str, module: str, features: Callable[[], Basis]) -> Recipe:
    """The recipe of a model with these features, made in `module`."""

    def planted() -> dict[str, Planted]:
        basis, site = features(), Site(1, positions="last")
        return {"WX": Planted(site, basis[:, [WX]]), "YZ": Planted(site, basis[:, [YZ]])}

    return Recipe(
        title, lambda: equality_config(features().shape[0]), equality_tokenizer,
        lambda tokenizer, report: equality_model(features(), tokenizer),
        (module, __name__, "das.models.word_tokenizer", "das.tasks.hierarchical_equality"), planted=planted,
    )  # fmt: skip


def _codes() -> Float[Tensor, "word sign"]:
    words = [signs for signs in product((1.0, -1.0), repeat=SIGNS) if math.prod(signs) > 0]
    return torch.tensor(words)


def _embedding(tokenizer: PreTrainedTokenizerFast) -> Float[Tensor, "vocab feature"]:
    """Every token the constant; objects also their code, in the first slot."""
    rows = torch.zeros(len(tokenizer), FEATURES)
    rows[:, CONSTANT] = _CONSTANT
    rows[tokenizer.convert_tokens_to_ids(list(OBJECTS)), :SIGNS] = _codes()
    return rows


def _head(tokenizer: PreTrainedTokenizerFast) -> Float[Tensor, "vocab feature"]:
    rows = torch.zeros(len(tokenizer), FEATURES)
    rows[:, CONSTANT] = _OTHER / _CONSTANT
    for sign, label in zip((1.0, -1.0), LABELS, strict=True):
        token = tokenizer.convert_tokens_to_ids(label.strip())
        rows[token, CONSTANT], rows[token, ANSWER] = 0.0, sign * _LOGIT / _ANSWER
    return rows


def _attend(attention: Any, basis: Basis, norm: float) -> None:
    """Head n copies the code of the n-th object; `norm` is an object's embedding's length before normalisation."""
    unit = norm / math.sqrt(basis.shape[0])  # undoes the normalisation of an object's embedding
    amplitude = _SCORE * math.sqrt(SIGNS)
    constant, half = basis[:, CONSTANT] / _CONSTANT * unit, SIGNS // 2
    for head, slot in enumerate(SLOTS.values()):
        back, first = 4 - head, head * SIGNS
        attention.q_proj.weight[first] = amplitude * math.cos(back) * constant
        attention.q_proj.weight[first + half] = -amplitude * math.sin(back) * constant
        attention.k_proj.weight[first] = constant
        attention.v_proj.weight[first : first + SIGNS] = basis[:, :SIGNS].T * unit
        attention.o_proj.weight[:, first : first + SIGNS] = basis[:, slot : slot + SIGNS]


#: (gate, up, out): feature -> weight of what a hidden unit reads twice, before normalisation, and of what it writes.
Unit = tuple[dict[int, float], dict[int, float], dict[int, float]]


def _multiply(left: int, right: int, out: int, scale: float) -> list[Unit]:
    """out += scale left right."""
    return [({left: sign}, {right: sign}, {out: scale}) for sign in (1.0, -1.0)]


def _products() -> list[Unit]:
    pairs = ((SLOTS["W"], SLOTS["X"], PRODUCT_WX), (SLOTS["Y"], SLOTS["Z"], PRODUCT_YZ))
    return [u for a, b, out in pairs for i in range(SIGNS) for u in _multiply(a + i, b + i, out, _PRODUCT)]


def _bits() -> list[Unit]:
    """relu(z - 4) - relu(z - 5) is a step between z = w.x <= 2 and z = 6; twice that minus one is the bit."""
    units: list[Unit] = []
    up = {CONSTANT: 1 / _CONSTANT}
    for source, bit in ((PRODUCT_WX, WX), (PRODUCT_YZ, YZ)):
        for threshold, sign in ((4.0, 1.0), (5.0, -1.0)):
            gate = {source: _SHARP / _PRODUCT, CONSTANT: -_SHARP * threshold / _CONSTANT}
            units.append((gate, up, {bit: sign * 2 * _BIT / _SHARP}))
        units.append(({CONSTANT: _SHARP / _CONSTANT}, up, {bit: -_BIT / _SHARP}))
    return units


def _answer() -> list[Unit]:
    return _multiply(WX, YZ, ANSWER, _ANSWER / _BIT**2)


def _fill(mlp: Any, basis: Basis, units: list[Unit], norm: float) -> None:
    """One hidden unit each; `norm` is the residual's length at the last token before normalisation."""
    unit = norm / math.sqrt(basis.shape[0])
    for i, (gate, up, out) in enumerate(units):
        for weight, features, scale in ((mlp.gate_proj.weight, gate, unit), (mlp.up_proj.weight, up, unit)):
            weight[i] = scale * sum(value * basis[:, feature] for feature, value in features.items())
        mlp.down_proj.weight[:, i] = sum(value * basis[:, feature] for feature, value in out.items())
