"""axbench: one concept of Concept10, Concept500 or Concept16K (arXiv 2501.17148), to steer and to detect.

Training rows (`input`, `output`, `output_concept`, `category`, `concept_genre`, `concept_id`): 72 positives of every
concept, whose response has the concept in it, and 72 negatives per genre (text, math, code), shared by its concepts,
with concept_id -1. Evaluation rows, if given, are the test split: positive, negative and "hard negative" (another sense
of the concept's words). `read_concept` keeps all three: AxBench's own AUROC leaves hard negatives out, since its label
map does not know them; `das.training.detection` reports them apart.

Contrasts pair positives with negatives of another instruction in file order, as the data is; or, with a template of
`instruct` ("{concept}", "{instruction}"), every positive's instruction with itself in the template, so that the concept
is asked for: then the model writes the negative response. Hard negatives are in no contrast. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from das.errors import ConfigError, EmptySplitError, RowError
from das.tasks.file_contrasts import FileContrasts, from_rows, read_contrast
from das.tasks.reading import Row, read_rows
from das.tasks.sieve import Sieve
from das.types import Prompt

Category = Literal["positive", "negative", "hard negative"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
SHARES: Mapping[str, float] = {"train": 0.8, "val": 0.2, "test": 0.0}
#: concept_id of negatives that the concepts of a genre share.
_SHARED = "-1"
_COLUMNS = ("input", "output", "output_concept", "category", "concept_genre", "concept_id")


@dataclass(frozen=True)
class Answer:
    """An instruction with a response that has the concept, has it not, or has only its words in another sense."""

    prompt: Prompt
    response: str
    category: Category
    origin: str


@dataclass(frozen=True)
class ConceptRows:
    """What a file holds about a concept: its name in words, its genre and its rows in file order."""

    concept: str
    genre: str
    answers: tuple[Answer, ...]

    def of(self, category: Category) -> list[Answer]:
        """The rows of one category."""
        return [one for one in self.answers if one.category == category]


def axbench(
    path: str,
    eval_path: str | None = None,
    concept_id: int = 0,
    instruct: str | None = None,
    shares: Mapping[str, float] = SHARES,
    strict: bool = True,
) -> FileContrasts:
    """The contrasts of one concept.

    Args:
        path: training rows, see `das.tasks.reading.read_rows` (on the hub: hf://datasets/pyvene/axbench-concept500/...).
        eval_path: evaluation rows, the test split; None takes that from `path`, if `shares` gives it any.
        concept_id: which concept.
        instruct: a template of prompts that ask for the concept, or None.
        shares: how much of the training rows each split gets.
        strict: refuse a file for a bad row, rather than leave it out.

    Raises:
        ConfigError, RowError, EntityError: naming file and row.
        EmptySplitError: no positives or no negatives of this concept.
    """
    if instruct is not None and not all(slot in instruct for slot in ("{concept}", "{instruction}")):
        raise ConfigError(
            "instruct lacks a slot", got=instruct, remedy="put {concept} and {instruction} into task.instruct"
        )
    sieve = Sieve(strict)
    early, late = (
        _quadruples(read_concept(file, concept_id, sieve), instruct) if file is not None else []
        for file in (path, eval_path)
    )
    return from_rows("axbench", early, read_contrast, shares, sieve, late)


def read_concept(path: str, concept_id: int, sieve: Sieve | None = None) -> ConceptRows:
    """All rows about a concept, the shared negatives of its genre among them.

    Raises:
        ConfigError, RowError: no such concept or category, naming file and row.
        EmptySplitError: no positives, or no negatives.
    """
    try:
        rows = read_rows(path, _COLUMNS)
    except ConfigError as error:
        if not Path(path).expanduser().is_dir():
            raise
        way = f"give its train parquet, task.path={Path(path) / 'train_data.parquet'}, and that of the test split as "
        raise ConfigError(error.what, got=error.got, remedy=f"{way}task.eval_path=...") from error
    mine = [row for row in rows if str(row.get("concept_id")) == str(concept_id)]
    about = next((row for row in mine if row.get("category") == "positive"), None)
    if about is None:
        known = sorted({str(row.get("concept_id")) for row in rows} - {_SHARED}, key=lambda i: (len(i), i))
        raise ConfigError(f"{path} has no positives of concept {concept_id}", got=f"the concepts {', '.join(known)}")
    genre = about.text("concept_genre")
    shared = [r for r in rows if str(r.get("concept_id")) == _SHARED and r.get("concept_genre") == genre]
    answers = (sieve or Sieve(strict=True)).sift([*mine, *shared], _answer, lambda row: row.where)
    found = ConceptRows(about.text("output_concept"), genre, tuple(answers))
    if not found.of("negative"):
        raise EmptySplitError(
            f"{path} has no negatives for concept {concept_id}", got=f"{len(mine)} rows, of genre {genre!r}",
            remedy=f"give it its own, or shared ones of its genre with concept_id {_SHARED}",
        )  # fmt: skip
    return found


def _answer(row: Row) -> Answer:
    said = row.text("category")
    category = next((known for known in CATEGORIES if known == said), None)
    if category is None:
        raise RowError("unknown category", got=repr(said), remedy=f"write one of {', '.join(CATEGORIES)}")
    return Answer(Prompt(row.text("input")), row.text("output"), category, row.where)


def _quadruples(found: ConceptRows, instruct: str | None) -> list[Row]:
    """Contrasts as rows."""
    positive, negative = found.of("positive"), found.of("negative")
    if instruct is not None:
        asked = [instruct.format(concept=found.concept, instruction=one.prompt.text) for one in positive]
        return [
            _quadruple(yes.origin, yes.prompt.text, None, ask, yes.response)
            for yes, ask in zip(positive, asked, strict=True)
        ]
    turns = (list(zip(positive, negative[i:] + negative[:i], strict=False)) for i in range(len(negative)))
    best = min(turns, key=lambda turn: sum(yes.prompt == no.prompt for yes, no in turn))
    return [
        _quadruple(f"{yes.origin} (with {no.origin})", no.prompt.text, no.response, yes.prompt.text, yes.response)
        for yes, no in best
    ]


def _quadruple(where: str, negative: str, no: str | None, positive: str, yes: str) -> Row:
    cells = {"negative_input": negative, "negative_output": no, "positive_input": positive, "positive_output": yes}
    return Row(where, cells)
