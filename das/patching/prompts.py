"""Clean and corrupted prompts in tokens, with the two answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from das.data.dataset import PairDataset
from das.data.encode import Encoder
from das.data.examples import Example
from das.data.placing import Where
from das.data.tokenize import EncodedPrompt
from das.errors import CapabilityError, EmptySplitError, LabelError
from das.types import SOURCE, CounterfactualPair, Prompt


@dataclass(frozen=True)
class Patchable:
    """A pair that can be patched.

    Attributes:
        clean, corrupted: prompts; the same one where noise corrupts it.
        answer, other: first tokens of the clean and of the corrupted prompt's answer.
        encoded: the clean prompt's tokens.
    """

    clean: Prompt
    corrupted: Prompt
    answer: int
    other: int
    encoded: EncodedPrompt


def patchable(pairs: Sequence[CounterfactualPair], encoder: Encoder, replace: bool) -> list[Patchable]:
    """Pairs whose two answers differ and, with `replace`, whose two prompts have the same number of tokens.

    Args:
        pairs: the base is the clean prompt; the target source is the corrupted one, whose answer is the
            counterfactual label.
        encoder: how to tokenize.
        replace: whether the source's tokens replace the base's; else the base is corrupted otherwise.

    Raises:
        CapabilityError: a pair's counterfactual label is no source's own answer.
        EmptySplitError: no pair is left.
        LabelError: two answers begin with the same token.
    """
    changed = [pair for pair in pairs if pair.changed]
    clean = list(encoder.encode_all([pair.base for pair in changed]))
    others = [_corrupted(pair) for pair in changed]
    lengths = [len(e) for e in encoder.encode_all(others)] if replace else [len(e) for e in clean]
    kept = [i for i, n in enumerate(lengths) if n == len(clean[i])]
    if not kept:
        raise EmptySplitError(
            "no pair can be patched: none has two answers and prompts of the same number of tokens",
            got=f"{len(pairs)} pairs, {len(changed)} with two answers", remedy="use other pairs, or noise",
        )  # fmt: skip
    answers, counterfactual = (
        [ids[0] for ids in encoder.label_ids_all([clean[i] for i in kept], [getattr(changed[i], name) for i in kept])]
        for name in ("base_label", "counterfactual_label")
    )
    found = []
    for i, answer, other in zip(kept, answers, counterfactual, strict=True):
        if answer == other:
            raise LabelError(
                "the two answers begin with the same token, so their logits cannot tell them apart",
                got=f"{changed[i].base_label!r} and {changed[i].counterfactual_label!r}", remedy="choose other labels",
            )  # fmt: skip
        found.append(Patchable(changed[i].base, others[i] if replace else changed[i].base, answer, other, clean[i]))
    return found


def dataset(items: Sequence[Patchable], encoder: Encoder, sites: Sequence[Where], denoise: bool) -> PairDataset:
    """Rows that start from the corrupted prompt and read the clean one, or the other way round; one label token."""
    rows = []
    for item in items:
        base, source = (item.corrupted, item.clean) if denoise else (item.clean, item.corrupted)
        label = item.answer if denoise else item.other
        rows.append(Example(CounterfactualPair(base, {SOURCE: source}, "", "", SOURCE), (label,)))
    return PairDataset(rows, encoder, sites)


def _corrupted(pair: CounterfactualPair) -> Prompt:
    if pair.target is None:
        raise CapabilityError(
            "patching needs a corrupted prompt with an answer of its own, and this pair's label belongs to no source",
            got=pair.base.text, remedy="if a source's own continuation is the counterfactual label, name that source, "
            f"with task=pairs task.target={min(pair.sources)}; or use another task",
        )  # fmt: skip
    return pair.sources[pair.target]
