from __future__ import annotations

import time

import pytest
import torch

from das.data.align import align
from das.data.dataset import PairDataset
from das.data.encode import Encoder
from das.data.responses import WrittenContrast
from das.errors import (
    ConfigError,
    ContextLengthError,
    EmptySplitError,
    LabelError,
    PositionError,
    UnknownChoiceError,
)
from das.types import Contrast, CounterfactualPair, Prompt

LABELS = (" he", " she")
NAMES = ["Tim", "Timothy", "Susannabella", "Sue", "Zoë", "Mary Ann"]
SPAN = ("span:name", {"source": "span:name"})


def pair(base, source, base_label=" he", label=" she", target=None):
    prompts = [Prompt.from_marked(text, "name") for text in (base, source)]
    return CounterfactualPair(prompts[0], {"source": prompts[1]}, base_label, label, target)


def name_pairs():
    return [
        pair(f"[[{a}]] went home because", f"One day [[{b}]] went home because", target="source")
        for a in NAMES
        for b in NAMES
        if a != b
    ]


def real(batch, side):
    """Unpadded rows of ids."""
    tokens = batch.base if side == "base" else batch.sources[side]
    return [ids[mask].tolist() for ids, mask in zip(tokens.ids, tokens.mask, strict=True)]


def picked(tokens, positions, row):
    return tokens.ids[row, positions.index[row][positions.mask[row]]].tolist()


# ------------------------------------------------------------------------------------------------ alignment


@pytest.mark.parametrize(
    ("writes", "reads", "expected"),
    [
        ([[5, 6, 7]], [[[1, 2, 3]]], ([5, 6, 7], [[1, 2, 3]])),
        ([[5, 6, 7]], [[[1, 2]]], ([6, 7], [[1, 2]])),
        ([[6, 7]], [[[1, 2, 3]]], ([6, 7], [[2, 3]])),
        ([[5, 6, 7], [9]], [[[1, 2], [3, 4]]], ([6, 7, 9], [[1, 2, 4]])),
        ([[5, 6, 7], [9]], [[[4]]], ([5, 6, 7, 9], [[4, 4, 4, 4]])),
        ([[5, 6, 7]], [[[1, 2]], [[1, 2, 3]], [[8]]], ([6, 7], [[1, 2], [2, 3], [8, 8]])),
    ],
)
def test_right_alignment(writes, reads, expected):
    assert align(writes, reads) == expected


def test_a_mention_of_one_token_is_not_broadcast():
    assert align([[5, 6, 7]], [[[1]]], mentions=True) == ([7], [[1]])
    assert align([[5, 6], [7]], [[[1]]], mentions=True) == ([5, 6, 7], [[1, 1, 1]])


def test_unequal_mentions_show_both_sides():
    with pytest.raises(PositionError, match=r"written \[\[1\], \[2\]\], read \[\[3, 4\]\].*single position"):
        align([[1], [2]], [[[3, 4]]])


@pytest.mark.parametrize("side", ["left", "right"])
def test_names_of_all_lengths_align(any_tokenizer, side):
    pairs = name_pairs()
    encoder = Encoder(any_tokenizer)
    data = PairDataset(pairs, encoder, [SPAN], labels=LABELS, padding_side=side)
    batch = data.collate(range(len(data)))
    write, read = batch.writes[0], batch.reads[0]["source"]
    assert read.index.shape == write.index.shape and torch.equal(read.mask, write.mask)
    lengths = set()
    for row, p in enumerate(pairs):
        base, source = (encoder.encode(x) for x in (p.base, p.sources["source"]))
        b, s = ([e.ids[i] for i in e.spans["name"][0]] for e in (base, source))
        lengths.add(len(b))
        shared = min(len(b), len(s))
        assert picked(batch.base, write, row) == b[-shared:]
        assert picked(batch.sources["source"], read, row) == s[-shared:]
    assert len(lengths) > 2


# ------------------------------------------------------------------------------------------------ batches


def test_padding_sides_hold_the_same_real_tokens(any_tokenizer):
    pairs = name_pairs()
    left, right = (
        PairDataset(pairs, Encoder(any_tokenizer), [SPAN, ("last", {})], labels=LABELS, padding_side=side)
        for side in ("left", "right")
    )
    assert left.fingerprint == right.fingerprint
    rows = [3, 0, 17, 29]
    a, b = left.collate(rows), right.collate(rows)
    assert a.rows.tolist() == rows and not torch.equal(a.base.mask, b.base.mask)
    assert real(a, "base") == real(b, "base") and real(a, "source") == real(b, "source")
    for row in range(len(rows)):
        assert picked(a.base, a.writes[0], row) == picked(b.base, b.writes[0], row)
        for batch in (a, b):
            last = batch.base.mask[row].nonzero()[-1].item()
            assert batch.writes[1].index[row].tolist() == [last] == batch.label_positions[row].tolist()
        positions = (x.base.position_ids[row, x.writes[0].index[row]][x.writes[0].mask[row]] for x in (a, b))
        assert next(positions).tolist() == next(positions).tolist()
    assert torch.equal(a.label_ids, b.label_ids) and torch.equal(a.choices, b.choices)


def test_labels_are_teacher_forced_without_their_last_token(tokenizer):
    encoder = Encoder(tokenizer)
    pairs = [pair("[[Tim]] saw", "So [[Sue]] saw", " he", label, "source") for label in (" he", " goodbye all", " xyz")]
    data = PairDataset(pairs, encoder, [SPAN])
    batch = data.collate([0, 1, 2])
    assert batch.choices is None and batch.base_choice is None
    for row, p in enumerate(pairs):
        prompt, source = (encoder.encode(x) for x in (p.base, p.sources["source"]))
        label = list(encoder.label_ids(prompt, p.counterfactual_label))
        mask = batch.label_mask[row]
        assert batch.label_ids[row][mask].tolist() == label
        assert real(batch, "base")[row] == [*prompt.ids, *label[:-1]]
        assert real(batch, "source")[row] == [*source.ids, *label[:-1]]
        for tokens, columns, n in (
            (batch.base, batch.label_positions, len(prompt)),
            (batch.sources["source"], batch.target_positions, len(source)),
        ):
            assert tokens.position_ids[row, columns[row][mask]].tolist() == list(range(n - 1, n - 1 + len(label)))
            assert columns[row][~mask].eq(0).all()
    assert len(set(batch.label_mask.sum(-1).tolist())) > 1


def test_choices_index_the_label_set(tokenizer):
    pairs = [pair("[[Tim]] saw", "[[Sue]] saw"), pair("[[Tim]] saw", "[[Tim]] saw", " he", " he")]
    batch = PairDataset(pairs, Encoder(tokenizer), [SPAN], labels=LABELS).collate([0, 1])
    assert batch.base_choice.tolist() == [0, 0] and batch.counterfactual_choice.tolist() == [1, 0]
    assert batch.changed.tolist() == [True, False]
    assert torch.equal(batch.choices.gather(1, batch.counterfactual_choice[:, None]), batch.label_ids)
    assert batch.target is None and batch.target_positions is None


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_single_read_position_is_broadcast_to_prompt_and_response(tokenizer, side):
    encoder = Encoder(tokenizer)
    pairs = [pair("[[Tim]] saw", "So [[Sue]] saw", label=label) for label in (" goodbye all", " she")]
    data = PairDataset(pairs, encoder, [("all", {"source": "last"})], padding_side=side)
    batch = data.collate([0, 1])
    read, write = batch.reads[0]["source"], batch.writes[0]
    assert read.index.shape == (2, 1) and read.mask.all()
    for row, p in enumerate(pairs):
        n = len(encoder.encode(p.base)) + int(batch.label_mask[row].sum()) - 1
        assert batch.base.position_ids[row, write.index[row][write.mask[row]]].tolist() == list(range(1, n))
        source = batch.sources["source"].position_ids[row, read.index[row]].tolist()
        assert source == [len(encoder.encode(p.sources["source"])) - 1]


def test_one_row_with_one_read_position_does_not_broadcast_the_dataset(tokenizer):
    pairs = [pair("[[Tim]] saw [[Tim]]", "[[Sue]] saw [[Sue]]"), pair("[[Tim]] saw [[Tim]]", "[[Sue]] saw")]
    data = PairDataset(pairs, Encoder(tokenizer), [("span:name:last", {"source": "span:name:last"})])
    batch = data.collate([0, 1])
    assert batch.reads[0]["source"].index.shape == batch.writes[0].index.shape == (2, 2)
    assert len(set(batch.reads[0]["source"].index[1].tolist())) == 1


def test_several_sources_and_placements_without_source(tokenizer):
    base, a, b = (Prompt.from_marked(f"[[{n}]] saw", "name") for n in NAMES[:3])
    pairs = [CounterfactualPair(base, {"gender": a, "tense": b}, " he", " she")]
    two = ("span:name:last", {"gender": "span:name:last", "tense": "last"})
    batch = PairDataset(pairs, Encoder(tokenizer), [("last", {"tense": "last"}), two, ("prompt", {})]).collate([0])
    assert set(batch.sources) == {"gender", "tense"}
    assert [set(r) for r in batch.reads] == [{"tense"}, {"gender", "tense"}, set()]


# ------------------------------------------------------------------------------------------------ contrasts


def test_contrast_becomes_two_adjacent_rows_with_the_sources_response(tokenizer):
    encoder = Encoder(tokenizer)
    contrast = Contrast(Prompt("Say yes"), Prompt("Please say no"), "Yes, sure", "no")
    data = PairDataset([contrast, contrast], encoder, [("all", {"source": "last"})])
    assert len(data) == 4 and data.group == 2
    batch = data.collate([0, 1])
    negative, positive = (list(encoder.encode(p).ids) for p in (contrast.negative, contrast.positive))
    yes, no = (list(encoder.response_ids(r)) for r in ("Yes, sure", "no"))
    assert real(batch, "base") == [negative + no[:-1], positive + yes[:-1]]
    assert real(batch, "source") == [positive + no[:-1], negative + yes[:-1]]
    assert batch.target == "source"


def test_written_ids_are_never_retokenized(tokenizer):
    unusual = (tokenizer.convert_tokens_to_ids("Y"), tokenizer.convert_tokens_to_ids("e"))
    contrast = Contrast(Prompt("Say"), Prompt("Do say"), "Ye", "Ye")
    batch = PairDataset([WrittenContrast(contrast, unusual, unusual)], Encoder(tokenizer), [("last", {})]).collate(
        [0, 1]
    )
    assert batch.label_ids.tolist() == [list(unusual)] * 2


def test_rows_of_one_dataset_make_another(tokenizer):
    encoder = Encoder(tokenizer)
    contrast = Contrast(Prompt("Say yes"), Prompt("Please say no"), "Yes, sure", "no")
    sites = [("all", {"source": "last"})]
    first = PairDataset([contrast, contrast], encoder, sites)
    again = PairDataset(first.examples[:2], encoder, sites, group=2)
    assert again.group == 2 and again.examples == first.examples[:2]
    assert torch.equal(again.collate([0, 1]).label_ids, first.collate([0, 1]).label_ids)


def test_contrast_without_responses_and_mixed_items(tokenizer):
    contrast = Contrast(Prompt("Say"), Prompt("Do say"))
    with pytest.raises(LabelError, match=r"no responses yet.*write_responses"):
        PairDataset([contrast], Encoder(tokenizer), [])
    contrast = Contrast(Prompt("Say"), Prompt("Do say"), "yes", "no")
    with pytest.raises(ConfigError, match=r"cannot be mixed.*1 pairs among 2 items"):
        PairDataset([contrast, pair("[[Tim]]", "[[Sue]]")], Encoder(tokenizer), [])


# ------------------------------------------------------------------------------------------------ errors


GOOD = pair("[[Tim]] saw", "[[Sue]] saw")


LONG, WORDY, TWICE = "[[Tim]] saw" + " saw" * 20, " xylophones", "[[Tim]] saw [[Tim]]"
OTHER = "[[Sue]] saw"
BAD_PAIRS = [
    (pair("Tim saw", OTHER), None, PositionError, "the prompt has no span 'name'.*'Tim saw'"),
    (pair(TWICE, "Oh [[Susannabella]] saw"), None, PositionError, "written .* read .*'Tim saw Tim'.*'Oh Susannabella"),
    (pair("[[Tim]] saw", OTHER, label=WORDY), LABELS, LabelError, "label ' xylophones' is not in the label set"),
    (pair("[[Tim]] wa", OTHER, label="s"), None, LabelError, "label 's' merges"),
    (pair(LONG, OTHER), None, ContextLengthError, "context is 20.*'Tim saw saw"),
    (pair("[[Tim]] saw", OTHER, label=" xy" * 20), None, ContextLengthError, "context is 20"),
]


@pytest.mark.parametrize(("bad", "labels", "error", "message"), BAD_PAIRS)
def test_errors_in_a_pair_name_its_row(tokenizer, bad, labels, error, message):
    with pytest.raises(error, match=f"row 1: .*{message}"):
        PairDataset([GOOD, bad], Encoder(tokenizer, context_length=20), [SPAN], labels=labels)


@pytest.mark.parametrize(
    ("bad", "site", "labels", "error", "message"),
    [
        (pair("[[Tim]]", OTHER, target="source"), SPAN, None, ConfigError, "same target.*row 0 and 'source' in row 1"),
        (CounterfactualPair(GOOD.base, {}, " he", " she"), SPAN, None, ConfigError, "same source names"),
        (GOOD, ("last", {"other": "last"}), None, ConfigError, "row 0: a site reads source 'other'"),
        (GOOD, ("lats", {}), None, UnknownChoiceError, "last"),
        (GOOD, SPAN, (" he", " she", " she"), LabelError, "row 0: two labels of the label set are the same"),
        (GOOD, SPAN, (" he", " she", WORDY), LabelError, "row 0: label ' xylophones' must be a single token"),
    ],
)
def test_errors_of_the_whole_dataset(tokenizer, bad, site, labels, error, message):
    with pytest.raises(error, match=message):
        PairDataset([GOOD, bad], Encoder(tokenizer), [site], labels=labels)


def test_empty_split_and_padding_side(tokenizer):
    with pytest.raises(EmptySplitError, match="at least one pair"):
        PairDataset([], Encoder(tokenizer), [SPAN])
    with pytest.raises(UnknownChoiceError, match="padding side"):
        PairDataset([GOOD], Encoder(tokenizer), [SPAN], padding_side="top")


def test_generated_after_a_one_token_label_is_an_error(tokenizer):
    with pytest.raises(PositionError, match="row 0: a label of one token leaves no response token"):
        PairDataset([GOOD], Encoder(tokenizer), [("generated", {"source": "last"})])


def test_fingerprint_sees_every_column(tokenizer):
    encoder = Encoder(tokenizer)
    prints = {
        PairDataset(pairs, encoder, [site]).fingerprint
        for pairs, site in (
            ([GOOD], SPAN),
            ([GOOD, GOOD], SPAN),
            ([GOOD], ("last", {"source": "last"})),
            ([pair("[[Tim]] saw", "[[Sue]] saw", label=" he")], SPAN),
        )
    }
    assert len(prints) == 4
    assert PairDataset([GOOD], encoder, [SPAN]).fingerprint in prints


def test_two_thousand_pairs_take_seconds(any_tokenizer):
    pairs = (name_pairs() * 67)[:2000]
    start = time.process_time()
    data = PairDataset(pairs, Encoder(any_tokenizer), [SPAN], labels=LABELS)
    data.collate(range(0, 2000, 20))
    assert time.process_time() - start < 10
