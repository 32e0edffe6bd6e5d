"""strict=False: rows that cannot be used are left out with all that belongs to them, and counted by what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from das.data.dataset import PairDataset
from das.data.encode import Encoder
from das.errors import ConfigError, EmptySplitError, LabelError, PositionError
from das.types import Contrast, CounterfactualPair, Prompt

LABELS = (" he", " she", " xylophones")
SPAN = ("span:name", {"source": "span:name"})
LAST = ("last", {"source": "last"})


def pair(base: str, source: str, base_label: str = " he", label: str = " she") -> CounterfactualPair:
    prompts = [Prompt.from_marked(text, "name") for text in (base, source)]
    return CounterfactualPair(prompts[0], {"source": prompts[1]}, base_label, label)


GOOD = [pair(f"[[{a}]] saw", f"[[{b}]] saw") for a, b in (("Tim", "Sue"), ("Sue", "Tim"), ("Timothy", "Sue"))]
BAD = {
    "no span": (pair("Tim saw", "[[Sue]] saw"), PositionError),
    "other structure": (pair("[[Tim]] saw [[Tim]] and [[Tim]]", "[[Susannabella]] saw [[Sue]]"), PositionError),
    "several tokens": (pair("[[Tim]] saw", "[[Sue]] saw", label=" xylophones"), LabelError),
    "no label of the set": (pair("[[Tim]] saw", "[[Sue]] saw", label=" they"), LabelError),
    "merged": (pair("[[Tim]] wa", "[[Sue]] saw", label="s"), LabelError),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_left_out(kind: str, tokenizer) -> None:
    bad, error = BAD[kind]
    encoder, rows = Encoder(tokenizer), [GOOD[0], replace(bad, origin="mine.csv, row 7"), *GOOD[1:]]
    labels = {"several tokens": LABELS, "merged": None}.get(kind, LABELS[:2])
    with pytest.raises(error):
        PairDataset(rows, encoder, [SPAN], labels=labels)
    data = PairDataset(rows, encoder, [SPAN], labels=labels, strict=False)
    assert data.pairs == tuple(GOOD) and data.labels == (labels and LABELS[:2])
    assert data.dropped == {error.__name__.removesuffix("Error").lower(): 1}
    assert data.fingerprint == PairDataset(GOOD, encoder, [SPAN], labels=data.labels).fingerprint


def test_nothing_is_left_out_of_good_data(tokenizer) -> None:
    data = PairDataset(GOOD, Encoder(tokenizer), [SPAN], labels=LABELS[:2], strict=False)
    assert data.pairs == tuple(GOOD) and data.dropped == {}


def test_many_rows_left_out_are_told_in_a_few_lines(tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    bad = [replace(BAD["no span"][0], origin=f"mine.csv, row {i}") for i in range(87)]
    PairDataset([*GOOD, *bad], Encoder(tokenizer), [SPAN], labels=LABELS[:2], strict=False)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 6 and said[4].startswith("left out: mine.csv, row 4: ")
    assert said[5] == "left out: 87 rows in all: 87 rows for their position"
    assert not any("strict" in line for line in said), "that is what was asked for"


def test_errors_name_the_file_and_the_way_out(tokenizer) -> None:
    rows = [GOOD[0], replace(BAD["no span"][0], origin="mine.csv, row 7")]
    with pytest.raises(PositionError, match=r"^mine\.csv, row 7: .*no span 'name'.*data.strict=false"):
        PairDataset(rows, Encoder(tokenizer), [SPAN])
    with pytest.raises(LabelError, match=r"^mine\.csv, row 7: label ' they' is not in the label set"):
        PairDataset([replace(BAD["no label of the set"][0], origin="mine.csv, row 7")], Encoder(tokenizer), [SPAN],
                    labels=LABELS[:2])  # fmt: skip


@pytest.mark.parametrize("strict", [True, False])
def test_moving_keeps_every_row_under_its_number_or_says_so(strict, tokenizer) -> None:
    """Recordings know rows by their numbers: leaving one out while moving would compare others than were recorded."""
    rows = [GOOD[0], replace(BAD["no span"][0], origin="mine.csv, row 7"), *GOOD[1:]]
    data = PairDataset(rows, Encoder(tokenizer), [LAST], labels=LABELS[:2], strict=strict)
    assert data.pairs == tuple(rows) and data.at([("first", {"source": "first"})]).pairs == tuple(rows)
    way_out = "data.strict=false" if strict else "PairDataset.having"
    with pytest.raises(PositionError, match=rf"^mine\.csv, row 7: .*no span 'name'.*{way_out}"):
        data.at([SPAN])


def test_rows_that_have_other_positions_too(tokenizer) -> None:
    rows = [GOOD[0], replace(BAD["no span"][0], origin="mine.csv, row 7"), *GOOD[1:]]
    strict, loose, clean = (
        PairDataset(given, Encoder(tokenizer), [LAST], labels=LABELS[:2], strict=how)
        for given, how in ((rows, True), (rows, False), (GOOD, True))
    )
    with pytest.raises(PositionError, match=r"^mine\.csv, row 7"):
        strict.having([LAST, SPAN])
    kept = loose.having([LAST, SPAN])
    assert kept.pairs == tuple(GOOD) and kept.dropped == {"position": 1} and loose.dropped == {}
    assert kept.fingerprint == clean.fingerprint, "numbered anew, and still at its own positions"
    assert kept.at([SPAN]).fingerprint == clean.at([SPAN]).fingerprint
    assert kept.having([SPAN]) is kept
    with pytest.raises(EmptySplitError, match="4 rows for their position"):
        kept.having([("index:40", {"source": "last"})])


def test_both_rows_of_a_contrast_go_together_when_one_lacks_a_position(tokenizer) -> None:
    good = Contrast(Prompt.from_marked("[[Tim]] saw", "name"), Prompt.from_marked("[[Sue]] saw", "name"), " he", " she")
    data = PairDataset([good, replace(good, positive=Prompt("Sue saw"))], Encoder(tokenizer), [LAST], strict=False)
    assert len(data) == 4
    kept = data.having([SPAN])
    assert len(kept) == 2 and kept.group == 2 and kept.dropped == {"position": 2}


def test_both_rows_of_a_contrast_go(tokenizer) -> None:
    good = Contrast(Prompt("Tim saw", {"name": ((0, 3),)}), Prompt("Sue saw", {"name": ((0, 3),)}), " he", " she")
    data = PairDataset([good, replace(good, positive=Prompt("Sue saw"))], Encoder(tokenizer), [SPAN], strict=False)
    assert data.pairs == good.pairs() and data.group == 2 and data.dropped == {"position": 2}


def test_all_rows_bad_says_why(tokenizer) -> None:
    rows = [BAD["no span"][0], BAD["merged"][0]]
    with pytest.raises(EmptySplitError, match="1 rows for their label, 1 rows for their position"):
        PairDataset(rows, Encoder(tokenizer), [SPAN], strict=False)


def test_what_is_wrong_with_all_rows_is_an_error_all_the_same(tokenizer) -> None:
    with pytest.raises(ConfigError, match="reads source 'other'"):
        PairDataset([BAD["no span"][0]], Encoder(tokenizer), [("last", {"other": "last"})], strict=False)
