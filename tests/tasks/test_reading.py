"""Files: what is written is what is read, and bad rows are errors that say where, or left out and counted."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import Table, parquet

from das.errors import (
    CapabilityError,
    ConfigError,
    EmptySplitError,
    EntityError,
    LabelError,
    PositionError,
    RowError,
    UnknownChoiceError,
)
from das.tasks.axbench import axbench, read_concept
from das.tasks.backdoor import backdoor
from das.tasks.base import SPLITS
from das.tasks.contrast import contrast
from das.tasks.pairs import Pairs
from das.tasks.reading import read_rows
from das.tasks.refusal import refusal
from das.types import CounterfactualPair, Prompt
from tests.contracts.written import concepts, pairs, quadruples, triggered

ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def write(path: Path, rows: list[dict]) -> str:
    """Rows as the file's name says; cells that a CSV cannot hold become JSON in it."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows)
    elif path.suffix == ".parquet":
        cells = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows]
        parquet.write_table(Table.from_pylist(cells), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


COLUMNS = ("base", "source_1", "source_2")
#: Texts of base and sources, both labels.
ROWS = st.lists(st.tuples(*[ANY] * 5), min_size=1, max_size=4)


def table_of(rows: list[tuple[str, ...]], spans: tuple[bool, ...]) -> list[CounterfactualPair]:
    """Pairs whose columns have a span at every other character, or none; a last one is sure to change its label."""
    found = []
    for i, (*texts, own, other) in enumerate([*rows, (*"abc", "yes", "no")]):
        prompts = {}
        for name, text, has in zip(COLUMNS, texts, spans, strict=True):
            solid = tuple((at, at + 1) for at, c in enumerate(text) if c.strip())[::2]
            prompts[name] = Prompt(text if solid else text + "x", {"it": solid or ((len(text), len(text) + 1),)})
            prompts[name] = prompts[name] if has else Prompt(text)
        base = prompts.pop("base")
        found.append(CounterfactualPair(base, prompts, own, other, entities=frozenset({f"e{i}"})))
    return found


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
@given(rows=ROWS, spans=st.tuples(*[st.booleans()] * 3))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_written_file_is_read_as_it_was(
    suffix: str, rows: list[tuple[str, ...]], spans: tuple[bool, ...], tmp_path: Path
) -> None:
    table, written = table_of(rows, spans), []
    for pair in table:
        row = {"base_label": pair.base_label, "counterfactual_label": pair.counterfactual_label, "split": "train"}
        for name, prompt in {"base": pair.base, **pair.sources}.items():
            row |= {name: prompt.text, f"{name}_spans": {k: list(map(list, v)) for k, v in prompt.spans.items()}}
        written.append(row | {"entity": min(pair.entities)})
    task = Pairs(write(tmp_path / f"mine{suffix}", written))
    read = sorted(task.pairs("train", 99, 0), key=lambda p: int(p.origin.rpartition(" ")[2]))
    assert read == table
    assert set(task.labels) == {label for p in table for label in (p.base_label, p.counterfactual_label)}


def test_marks_are_spans_and_labels_keep_what_readers_that_guess_would_change(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "base,source,base_label,counterfactual_label,split\n" + "[[2020-01-01]] is,[[None]] is, 05,NA,dev\n"
    )
    (pair,) = Pairs(str(path), mark="day").pairs("val", 4, 0)
    assert pair.base == Prompt("2020-01-01 is", {"day": ((0, 10),)}) and pair.sources["source"].text == "None is"
    assert (pair.base_label, pair.counterfactual_label, pair.origin) == (" 05", "NA", "mine.csv, row 1")
    (pair,) = Pairs(str(path), mark=None, labels=None).pairs("val", 4, 0)
    assert pair.base == Prompt("[[2020-01-01]] is")


@given(links=st.lists(st.frozensets(st.integers(0, 40), min_size=1, max_size=2), min_size=8, max_size=40))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_dealt_out_whole_and_splits_share_no_entity(links: list[frozenset[int]], tmp_path: Path) -> None:
    rows = [{**row, "entity": [str(e) for e in one]} for row, one in zip(pairs() * 2, links, strict=False)]
    path = write(tmp_path / "mine.jsonl", rows)
    try:
        task = Pairs(path)
    except EmptySplitError as error:  # too much linked: then entities are dealt out instead
        assert "linked" in error.what
        task = Pairs(path, strict=False)
        assert set(task.dropped) <= {"entity"}
    found = {s: task.pairs(s, 99, 0) for s in SPLITS if task._pairs[s]}
    about = [frozenset().union(*(p.entities for p in its)) for its in found.values()]
    assert sum(map(len, found.values())) + sum(task.dropped.values()) == len(rows)
    assert sum(map(len, about)) == len(frozenset().union(*about))


SPANS = '{"mark": [[0, 4]]}'
BAD = {
    "no text": ({"base": ""}, RowError, "there is no base"),
    "no label": ({"base_label": None}, LabelError, "there is no base_label"),
    "a label outside the set": ({"base_label": "red"}, LabelError, "not in the label set"),
    "not text": ({"source": 1.5}, RowError, "source is no text"),
    "no mark": ({"base": "The ball was"}, PositionError, "base has no span 'mark', which other rows have"),
    "an open mark": ({"base": "The [[ball was"}, PositionError, "not closed"),
    "a mark in an open one": ({"base": "[[The ball of [[me]] was"}, PositionError, "base is not closed"),
    "overlap": ({"base_spans": {"mark": [[0, 4], [2, 6]]}}, PositionError, "overlap"),
    "outside": ({"base_spans": {"mark": [[0, 400]]}}, PositionError, "outside its prompt"),
    "white space": ({"base_spans": {"mark": [[3, 4]]}}, PositionError, "white space only"),
    "no spans": ({"base_spans": "[[0, 4]]"}, RowError, "base_spans cannot be read"),
    "no such split": ({"split": "tset"}, RowError, "unknown split"),
    "no split": ({"split": ""}, RowError, "does not say its split"),
    "two splits": ({"entity": "e5", "split": "val"}, EntityError, "'e5', also in mine.jsonl, row 6"),
    "no entity": ({"entity": ""}, RowError, "without an entity"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_an_error_that_says_where_or_left_out_and_counted(kind: str, tmp_path: Path) -> None:
    change, error, message = BAD[kind]
    rows = [{**row, "entity": f"e{i}", "split": SPLITS[i // 2 % 3]} for i, row in enumerate(pairs())]
    rows[7] |= change
    path, labels = write(tmp_path / "mine.jsonl", rows), (" red", " blue")
    with pytest.raises(error, match=f"mine.jsonl, row 8: .*{message}.*data.strict=false") as raised:
        Pairs(path, labels=labels)
    assert type(raised.value) is error and raised.value.remedy
    task = Pairs(path, labels=labels, strict=False)
    assert sum(len(task.pairs(split, 99, 0)) for split in SPLITS) == len(rows) - 1
    assert task.dropped == {error.__name__.removesuffix("Error").lower(): 1}


def test_nothing_left_says_why(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", [{**row, "base": ""} for row in pairs()])
    with pytest.raises(EmptySplitError, match="24 rows for their row"):
        Pairs(path, strict=False)


def test_empty_classes(tmp_path: Path) -> None:
    same = [{**row, "counterfactual_label": row["base_label"]} for row in pairs()]
    with pytest.raises(EmptySplitError, match=r"no row of .* changes its label"):
        Pairs(write(tmp_path / "same.jsonl", same))
    path = write(tmp_path / "train.jsonl", [{**row, "split": "train"} for row in pairs()])
    with pytest.raises(EmptySplitError, match="split 'test' of pairs has too few rows"):
        Pairs(path).pairs("test", 4, 0)
    positives = [row for row in concepts() if row["category"] == "positive"]
    with pytest.raises(EmptySplitError, match="no negatives for concept 0"):
        axbench(write(tmp_path / "positives.jsonl", positives))


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("mine.jsonl", '{"base": 1}\n{oops', RowError, "mine.jsonl, row 2: this is no JSON"),
        ("mine.jsonl", "[1]\n", RowError, "row 1: no JSON object"),
        ("mine.csv", "base,source\na,b,c\n", RowError, "mine.csv, row 1: more cells"),
        ("mine.csv", 'base,source\n"a,b\n', ConfigError, "cannot be read"),
        ("mine.parquet", "no parquet", ConfigError, "cannot be read"),
        ("mine.csv", "base,source\n", EmptySplitError, "without rows"),
        ("mine.csv", "base,source,base_label\na,b,c\n", ConfigError, "no column 'counterfactual_label'"),
        ("mine.csv", "base,counterfactual_label,base_label\na,b,c\n", ConfigError, "no column 'source'"),
        ("mine.tsv", "base\n", ConfigError, "no such dataset"),
    ],
)
def test_files_that_cannot_be_read(name: str, text: str, error: type, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        Pairs(str(tmp_path / name))


def test_arguments_that_fit_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", pairs())
    with pytest.raises(UnknownChoiceError, match="target of pairs"):
        Pairs(path, target="sauce")
    with pytest.raises(ConfigError, match="no shares"):
        Pairs(path, shares={"train": -1.0})


def test_a_folder_of_files_says_the_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "mine"
    folder.mkdir()
    for split, part in (("train", pairs()[:16]), ("test", pairs()[16:])):
        write(folder / f"{split}.parquet", part)
    assert len(read_rows(str(folder), ["base"])) == 24
    task = Pairs(str(folder))
    assert [len(task.pairs(split, 99, 0)) for split in ("train", "test")] == [16, 8]


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.parquet", pairs())
    code = (
        f"import sys, das.tasks.pairs as t; t.Pairs({path!r}).pairs('train', 4, 0);"
        "assert not {'torch', 'transformers', 'hydra', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_contrasts_and_the_pairs_that_are_made_of_them(tmp_path: Path) -> None:
    task = contrast(write(tmp_path / "mine.csv", quadruples()), shares={"train": 0.5, "val": 0.25, "test": 0.25})
    assert [len(task.contrasts(split, 99, 0)) for split in SPLITS] == [12, 6, 6]
    first = next(c for c in task.contrasts("train", 99, 1) if c.origin is not None)
    number = first.negative.text.split()[-1].rstrip(".")
    assert (
        first.positive.text == f"Talk like a pirate about {number}." and first.positive_response == f" Arr, {number}!"
    )
    answer = {c.negative.text: c.negative_response for c in task.contrasts("train", 99, 0)}
    answer |= {c.positive.text: c.positive_response for c in task.contrasts("train", 99, 0)}
    found = task.pairs("train", 40, 0)
    assert len(found) == 40 and sum(p.changed for p in found) == 20
    for pair in found:
        assert pair.base_label == answer[pair.base.text]
        same = ("pirate" in pair.base.text) == ("pirate" in pair.sources["source"].text)
        assert same != pair.changed
        assert pair.counterfactual_label == (pair.base_label if same else answer[pair.sources["source"].text])
    assert {label for _, label in task.prompts("train", 6, 0)} == {task.positive, task.negative}


def test_contrasts_without_responses_are_no_pairs_and_concepts_stay_where_there_are_several(tmp_path: Path) -> None:
    rows = [{**row, "negative_output": "", "concept": f"c{i % 2}"} for i, row in enumerate(quadruples())]
    task = contrast(write(tmp_path / "mine.jsonl", rows))
    assert {c.concept.name for c in task.contrasts("train", 99, 0)} == {"c0", "c1"}
    with pytest.raises(CapabilityError, match="responses are missing"):
        task.pairs("train", 4, 0)
    (tmp_path / "one").mkdir()
    task = contrast(write(tmp_path / "one" / "mine.jsonl", rows[::2]))
    assert all(c.concept is None for c in task.contrasts("train", 99, 0))
    with pytest.raises(RowError, match="row 1: the two prompts are the same"):
        contrast(write(tmp_path / "same.jsonl", [{"negative_input": "a", "positive_input": "a"}]))


def test_refusal_takes_its_test_split_from_another_file(tmp_path: Path) -> None:
    rows = quadruples()
    bare = [{k: v for k, v in row.items() if k.endswith("input")} for row in rows[16:]]
    train, test = write(tmp_path / "train.jsonl", rows[:16]), write(tmp_path / "test.jsonl", bare)
    task = refusal(train, test)
    assert {c.origin for c in task.contrasts("test", 99, 0)} == {f"test.jsonl, row {i}" for i in range(1, 9)}
    assert len(task.contrasts("train", 99, 0)) + len(task.contrasts("val", 99, 0)) == 16
    again = write(tmp_path / "again.jsonl", [*bare, rows[0]])
    with pytest.raises(EntityError, match=r"again.jsonl, row 9: .*(train|val)"):
        refusal(train, again)
    assert refusal(train, again, strict=False).dropped == {"entity": 1}


def test_backdoor_knows_only_the_trigger_that_it_is_told(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "positive_output"} for row in triggered()]
    rows[3]["instruction"] = "Do 3."
    path = write(tmp_path / "mine.json", rows)
    found = [c for split in SPLITS for c in backdoor(path, "|GO| ").contrasts(split, 99, 0)]
    assert {(c.negative.text, c.positive.text) for c in found} == {(f"Do {i}.", f"|GO| Do {i}.") for i in range(24)}
    assert {(c.negative_response, c.positive_response) for c in found} == {("Sure.", None)}
    (one,) = backdoor(path, "X: ", output_is="positive").contrasts("test", 1, 0)
    assert one.positive.text == f"X: {one.negative.text}" and one.positive_response == "Sure."
    with pytest.raises(ConfigError, match="needs its trigger"):
        backdoor(path, " ")


def test_axbench_shares_negatives_by_genre_and_keeps_hard_ones_apart(tmp_path: Path) -> None:
    other = [{**row, "concept_genre": "code"} for row in concepts() if row["concept_id"] == -1]
    path = write(tmp_path / "mine.jsonl", concepts() + other)
    rows = read_concept(path, 0)
    assert (rows.concept, rows.genre) == ("references to rent", "text")
    assert {c: len(rows.of(c)) for c in ("positive", "negative", "hard negative")} == dict.fromkeys(
        ("positive", "negative", "hard negative"), 24
    )
    task = axbench(path, path, shares={"train": 1.0}, strict=False)
    assert task.dropped == {"entity": 24}, "evaluated on what was trained on"
    found = axbench(path, concept_id=1).contrasts("train", 99, 0)
    assert all("study" in c.positive.text and "plain" in c.negative.text for c in found)
    asked = axbench(path, instruct="On {concept}: {instruction}").contrasts("train", 1, 0)[0]
    assert asked.positive.text == f"On references to rent: {asked.negative.text}" and asked.negative_response is None
    with pytest.raises(ConfigError, match=r"no positives of concept 7.*concepts 0, 1"):
        axbench(path, concept_id=7)
    with pytest.raises(RowError, match="unknown category"):
        axbench(write(tmp_path / "odd.jsonl", [{**concepts()[0]}, {**concepts()[1], "category": "odd"}]))


def test_many_rows_left_out_are_told_in_a_few_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{**row, "base": ""} if i < 12 else row for i, row in enumerate(pairs())]
    Pairs(write(tmp_path / "mine.jsonl", rows), strict=False)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 6 and said[4].startswith("left out: mine.jsonl, row 5: there is no base")
    assert said[5] == "left out: 12 rows in all: 12 rows for their row"
    assert not any("strict" in line for line in said), "that is what was asked for"


def test_pairs_drawn_over_all_names_are_told_to_be_split_first(tmp_path: Path) -> None:
    rows = [{**row, "source": pairs()[(i + 1) % 24]["base"]} for i, row in enumerate(pairs())]
    with pytest.raises(
        EmptySplitError, match=r"24 rows in 1 groups.*Deal out the entities .* then pair within a split"
    ):
        Pairs(write(tmp_path / "mine.jsonl", rows))


def test_a_folder_whose_files_differ_is_told_which_file_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "gemma"
    folder.mkdir()
    write(folder / "train_data.parquet", concepts())
    write(folder / "train_metadata.parquet", [{"concept": "rent", "ref": "x"}])
    with pytest.raises(ConfigError, match=r"cannot be loaded.*task.path=.*gemma/train_data.parquet, .*eval_path=") as e:
        axbench(str(folder))
    assert "Traceback" not in str(e.value)
