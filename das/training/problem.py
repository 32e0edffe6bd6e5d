"""A model, a task and how to make data from them: everything a training or an evaluation starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never, final

import torch

from das.data.dataset import PairDataset
from das.data.encode import Encoder
from das.data.examples import ROW_ERRORS
from das.data.placing import where_of
from das.data.responses import WrittenContrast, write_responses
from das.data.rows import check_own_labels
from das.data.tokenize import Tokenizer
from das.engine.engine import Engine
from das.errors import CapabilityError, EmptySplitError, InputError, LabelError
from das.interventions.sets import InterventionSet
from das.models.families import ModelView
from das.models.load import load_tokenizer
from das.objectives.base import Needs
from das.tasks.base import ContrastTask, Task
from das.tasks.sieve import Sieve
from das.training.evaluate import natively_correct
from das.types import Site

_PAIRS = Needs()


@dataclass(frozen=True)
class DataSettings:
    """How much data, and how it is turned into tokens.

    Attributes:
        n_train, n_val, n_test: interchange pairs per split.
        n_contrast: contrast quadruples for training (objectives that train on them) and for factors.
        response_tokens: length of the responses the model writes itself for contrasts.
        filter_correct: drop pairs that the unmodified model answers wrongly, at the base or the target source. Other
            sources (ioi, mcqa, price_tagging, hierarchical_equality) are not checked: pairs do not say their labels.
        strict: a row that cannot be used is an error; otherwise it is left out, counted and reported.
        padding_side: "left" or "right"; makes no difference beyond float noise.
        chat: put prompts through the tokenizer's chat template.
        system: system prompt of the chat.
        batch_size: rows per forward when nothing is trained.
        seed: of the samplers; None for the run's own.
    """

    n_train: int = 512
    n_val: int = 128
    n_test: int = 256
    n_contrast: int = 128
    response_tokens: int = 16
    filter_correct: bool = False
    strict: bool = True
    padding_side: str = "left"
    chat: bool = False
    system: str | None = None
    batch_size: int = 64
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_train", "n_val", "n_test", "n_contrast", "response_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise EmptySplitError(f"data.{name} must be at least 1", got=getattr(self, name))


@final
class Problem:
    """Makes datasets that fit one model and one task.

    Args:
        model: a frozen causal LM (`das.load_model`).
        task: causal model and sampler.
        tokenizer: the model's own by default.
        data: sizes and tokenization.
        seed: of the samplers, unless `data` says another.

    Attributes:
        dropped: split (or "file") -> kind of error, or "model" where it answers wrongly -> rows left out so far.
        fitted: split -> prompts that an estimator was given, for what was made so far.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        task: Task,
        tokenizer: Tokenizer | None = None,
        data: DataSettings | None = None,
        seed: int = 0,
    ) -> None:
        _check(model, task)
        self.model, self.task, self.data = model, task, data or DataSettings()
        self.seed = seed if self.data.seed is None else self.data.seed
        self.dropped: dict[str, Mapping[str, int]] = {"file": getattr(task, "dropped", {})}
        self.fitted: dict[str, int] = {}
        self.view = ModelView(model)
        self.tokenizer = load_tokenizer(model) if tokenizer is None else tokenizer
        self.encoder = Encoder.of(model, self.tokenizer, chat=self.data.chat, system=self.data.system)

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self.view.device

    def engine(self, interventions: InterventionSet, watch: Sequence[Site] = ()) -> Engine:
        """An engine at the interventions' sites."""
        return Engine(self.model, interventions.placements, watch)

    def dataset(self, split: str, interventions: InterventionSet, needs: Needs = _PAIRS) -> PairDataset:
        """Data of one split as an objective needs it, positions resolved for the interventions' and the watched sites.

        Raises:
            EmptySplitError: nothing left after filtering.
            CapabilityError: the task has no such data.
        """
        data = self._dataset(split, interventions, needs)
        self.dropped.setdefault(split, data.dropped)
        return data

    def _dataset(self, split: str, interventions: InterventionSet, needs: Needs) -> PairDataset:
        if needs.rows != "pairs":
            return self.from_contrasts(self.contrasts(split), interventions, needs)
        sizes = {"train": self.data.n_train, "val": self.data.n_val, "test": self.data.n_test}
        if split not in sizes:
            raise InputError("unknown split", got=split, remedy=f"choose one of {', '.join(sizes)}")
        pairs = self.task.pairs(split, sizes[split], self.seed)
        try:
            data = self.pairs(pairs, interventions, self.task.labels, watch=needs.watch)
        except LabelError:
            check_own_labels(self.task, sizes, self.seed, self.encoder)
            raise
        return self._filtered(data, interventions, split, needs.watch) if self.data.filter_correct else data

    def from_contrasts(
        self, written: Sequence[WrittenContrast], interventions: InterventionSet, needs: Needs
    ) -> PairDataset:
        """Contrasts with responses, as the rows an objective asks for."""
        rows, watch = needs.rows, needs.watch
        match rows:
            case "elicit":
                return self.pairs([w.examples()[0] for w in written], interventions, None, watch=watch)
            case "preferences" | "contrast_preferences":
                examples = [e for w in written for e in w.preferences(rows == "contrast_preferences")]
                return self.pairs(examples, interventions, None, group=2, watch=watch)
            case "contrasts" | "pairs":
                return self.pairs(written, interventions, None, watch=watch)
        assert_never(rows)

    def contrasts(self, split: str) -> list[WrittenContrast]:
        """The task's contrasts, with responses that the unmodified model writes where they have none.

        Raises:
            CapabilityError: the task has none.
        """
        if not isinstance(self.task, ContrastTask):
            raise CapabilityError(
                f"task {self.task.name!r} has no contrasts, which this objective trains on",
                got="interchange pairs only",
                remedy="use objective.rows=pairs, or a task with contrasts",
            )  # fmt: skip
        drawn = self.task.contrasts(split, self.data.n_contrast, self.seed)
        size = (self.data.response_tokens, self.data.batch_size)
        try:
            return write_responses(self.model, self.encoder, drawn, *size)
        except ROW_ERRORS:  # which contrast it is, or all the others
            sieve = Sieve(self.data.strict)
            written = sieve.sift(
                enumerate(drawn),
                lambda item: write_responses(self.model, self.encoder, [item[1]], *size)[0],
                lambda item: item[1].origin or f"contrast {item[0]}",
            )
            self.dropped[f"{split}_contrasts"] = dict(sieve.dropped)
            return written

    def _filtered(
        self, data: PairDataset, interventions: InterventionSet, split: str, watch: Sequence[Site]
    ) -> PairDataset:
        """Only the pairs whose prompts the unmodified model answers correctly."""
        right = natively_correct(self.engine(interventions), data, self.data.batch_size)
        kept = [pair for pair, ok in zip(data.pairs, right.tolist(), strict=True) if ok]
        if not kept:
            raise EmptySplitError(
                f"no pair is left in split {split!r}: the model answers every one wrongly", got=f"{len(data)} pairs",
                remedy="choose a model that can do the task, or data.filter_correct=false",
            )  # fmt: skip
        found = self.pairs(kept, interventions, data.labels, watch=watch)
        found.dropped = {**data.dropped, "model": len(data) - len(found)}
        return found

    @staticmethod
    def moved(data: PairDataset, interventions: InterventionSet, watch: Sequence[Site] = ()) -> PairDataset:
        """The same rows with positions for other interventions; nothing is tokenized again."""
        return data.at(where_of(interventions, watch))

    def pairs(
        self,
        items: Sequence[Any],
        interventions: InterventionSet,
        labels: tuple[str, ...] | None,
        group: int = 1,
        watch: Sequence[Site] = (),
    ) -> PairDataset:
        """Pairs, contrasts or examples as a dataset with positions for the interventions' and the watched sites."""
        where = where_of(interventions, watch)
        return PairDataset(
            items, self.encoder, where, labels=labels, padding_side=self.data.padding_side, group=group,
            strict=self.data.strict, about=self.task.name,
        )  # fmt: skip


def _check(model: Any, task: Any) -> None:
    """Say what is wrong with what people give by mistake."""
    if not isinstance(model, torch.nn.Module):
        raise InputError("the model must be loaded", got=repr(model), remedy='give das.load_model("NAME_OR_PATH")')
    if isinstance(task, type):
        raise InputError("the task must be an instance", got=task.__name__, remedy=f"give {task.__name__}()")
    if not isinstance(task, Task):
        raise InputError("this is no task", got=type(task).__name__, remedy="see das.tasks.base.Task for what it needs")
