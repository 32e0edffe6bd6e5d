"""Counterfactual pairs to the columns of a table of token ids, positions and labels; every check on data is here.

Columns (indices count from a row's first real token; K is the number of label tokens, sequences hold K - 1 of them):

    base, source:NAME               prompt ids + label ids without the last
    base_prompt, source_prompt:NAME number of prompt tokens among them
    label                           the counterfactual label's ids, (K)
    write:I                         base positions written by placement I
    read:I:NAME                     source positions it reads: as many as written, or one in every row (broadcast)
    changed                         whether the interchange changes the label
    row:NAME                        what an example says of its row, a number; row:value is the pair's own
    choices, base_choice, counterfactual_choice    only with a label set: its token ids, and indices into them
    rival_choice                    only with a label set, and where pairs have rivals
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from das.data.encode import Encoder
from das.data.examples import Encoded, Example, labels_of, naming
from das.data.placing import Columns, Where, placed
from das.data.tokenize import EncodedPrompt
from das.errors import ConfigError, EmptySplitError, LabelError
from das.tasks.base import Task
from das.types import CounterfactualPair


def encode_examples(examples: Sequence[Example], encoder: Encoder, labels: tuple[str, ...] | None) -> list[Encoded]:
    """Tokenize all examples; errors name the row.

    Raises:
        EmptySplitError, ConfigError: without examples; if pairs disagree about source names or target.
        PositionError, LabelError, ContextLengthError: as `Encoder`, or a label is not one of distinct `labels`.
    """
    if not examples:
        raise EmptySplitError("a dataset needs at least one pair", got=0, remedy="ask for more pairs, or filter less")
    pairs = [e.pair for e in examples]
    names = _agreed("source names", [tuple(sorted(p.sources)) for p in pairs])
    _agreed("target", [p.target for p in pairs])
    bases = _in_rows(encoder.encode_all([p.base for p in pairs]), pairs)
    sources = {n: _in_rows(encoder.encode_all([p.sources[n] for p in pairs]), pairs) for n in names}
    asked = [row for row, e in enumerate(examples) if e.label_ids is None]
    texts = [pairs[row].counterfactual_label for row in asked]
    written = encoder.label_ids_all([bases[row] for row in asked], texts)
    choices = _choices(pairs, bases, labels, encoder) if labels is not None else [()] * len(pairs)
    out = []
    for row, (example, base) in enumerate(zip(examples, bases, strict=True)):
        with naming(row, example.pair):
            ids = next(written) if example.label_ids is None else example.label_ids
            encoded = Encoded(example, base, {n: sources[n][row] for n in names}, ids, choices[row])
            for prompt in (encoded.base, *encoded.sources.values()):
                encoder.check_length(prompt, len(ids) - 1)
            out.append(encoded)
    return out


def check_own_labels(task: Task, sizes: Mapping[str, int], seed: int, encoder: Encoder) -> None:
    """Raise LabelError naming the first row, of any split, whose own label in the label set is no single token."""
    for split, size in sizes.items():
        with suppress(EmptySplitError):
            pairs = task.pairs(split, size, seed)
            for row, (pair, base) in enumerate(zip(pairs, encoder.encode_all([p.base for p in pairs]), strict=True)):
                with naming(row, pair):
                    for label in sorted({*labels_of(pair)} & {*(task.labels or ())}):
                        encoder.only(encoder.label_ids(base, label), base, label)


def columns(encoded: Sequence[Encoded], sites: Sequence[Where], labels: tuple[str, ...] | None) -> Columns:
    """The table's columns, as the module docstring lists them; PositionError or LabelError naming the row."""
    out: Columns = {
        "base": [list(e.base.ids + e.label_ids[:-1]) for e in encoded],
        "base_prompt": [len(e.base) for e in encoded],
        "label": [list(e.label_ids) for e in encoded],
        "changed": [e.pair.changed for e in encoded],
    }
    for name in encoded[0].sources:
        out[f"source:{name}"] = [list(e.sources[name].ids + e.label_ids[:-1]) for e in encoded]
        out[f"source_prompt:{name}"] = [len(e.sources[name]) for e in encoded]
    numbers = [e.numbers for e in encoded]
    for name in _agreed("numbers", [tuple(sorted(one)) for one in numbers]):
        out[f"row:{name}"] = [float(one[name]) for one in numbers]
    for number, where in enumerate(sites):
        out |= placed(encoded, number, where)
    if labels is not None:
        out["choices"] = [list(e.choices) for e in encoded]
        names = ["base", "counterfactual"]
        names += ["rival"] if _agreed("kinds of labels", [e.pair.rival is not None for e in encoded]) else []
        chosen = [_chosen(row, e.pair, labels) for row, e in enumerate(encoded)]
        out |= {f"{name}_choice": [indices[i] for indices in chosen] for i, name in enumerate(names)}
    return out


def _choices(
    pairs: Sequence[CounterfactualPair], bases: Sequence[EncodedPrompt], labels: tuple[str, ...], encoder: Encoder
) -> list[tuple[int, ...]]:
    found = encoder.label_ids_all([b for b in bases for _ in labels], [label for _ in bases for label in labels])
    out = []
    for row, (pair, base) in enumerate(zip(pairs, bases, strict=True)):
        with naming(row, pair):
            ids = tuple(encoder.only(next(found), base, label) for label in labels)
            if len(set(ids)) < len(ids):
                raise LabelError(
                    "two labels of the label set are the same token",
                    got=f"{dict(zip(labels, ids, strict=True))} after {base.text!r}",
                    remedy="list each label once, or choose labels that differ in their first token",
                )
            out.append(ids)
    return out


def _chosen(row: int, pair: CounterfactualPair, labels: tuple[str, ...]) -> list[int]:
    """Indices of all labels of a pair."""
    with naming(row, pair):
        for label in labels_of(pair):
            if label not in labels:
                raise LabelError(
                    f"label {label!r} is not in the label set", got=repr(labels), remedy="add it to the task's labels"
                )
    return [labels.index(label) for label in labels_of(pair)]


def _agreed(what: str, values: Sequence[Any]) -> Any:
    for row, value in enumerate(values):
        if value != values[0]:
            raise ConfigError(
                f"pairs of one dataset must have the same {what}",
                got=f"{values[0]!r} in row 0 and {value!r} in row {row}",
                remedy="make one dataset of each kind",
            )
    return values[0]


def _in_rows(prompts: Iterator[EncodedPrompt], pairs: Sequence[CounterfactualPair]) -> list[EncodedPrompt]:
    out = []
    for row, pair in enumerate(pairs):
        with naming(row, pair):
            out.append(next(prompts))
    return out
