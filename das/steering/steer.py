"""`das.steer`: edit a model's activations in place, until removed.

    with das.steer(model, subspace, factor=+1) as steering:
        steering.generate(["Once upon a time, there was a child named [[Robin]]."])

The model stays the same object with the same weights; only hooks come and go, and after removal its logits are
bit-identical. Stacked steerings apply in the order in which they were started.

Equation   h' = h + lift(gate (edit(z) - z)) at the selected positions, see `das.steering.operations`
Cost       two small matrix products per site and forward where the edit is affine (clamp, add, ablate, LoReFT, ...)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

from torch import Tensor, nn

from das.artifacts.subspace import Subspace
from das.data.positions import parse_positions
from das.data.spans import AnyPrompt
from das.data.tokenize import EncodedPrompt, Tokenizer
from das.errors import InputError
from das.models.families import ModelView
from das.steering.concepts import Described, tell
from das.steering.generate import complete, continuation_texts, left_padded
from das.steering.hub import hub_of, steers
from das.steering.operations import Factor, Operation, operation
from das.steering.prompts import PromptReader
from das.steering.run import Run


def steer(
    model: nn.Module,
    subspace: Subspace,
    factor: Factor | None = None,
    *,
    value: Factor | None = None,
    op: str | None = None,
    positions: str | None = None,
    concept: Described | None = None,
    prompts: Sequence[AnyPrompt] | None = None,
    tokenizer: Tokenizer | None = None,
    allow_model_mismatch: bool = False,
) -> Steering:
    """Steer a model in place; active at once, until `remove()` or the end of the `with` block.

    Args:
        model: the model the subspace was learned in.
        subspace: where, and along which coordinates.
        factor: one float, or one per row, 1 by default: +f clamps to f times the positive value's mean coordinates, -f
            to f times the negative value's. Beams and returned sequences repeat a row's factor.
        value: raw coordinates (rank,) instead of a factor (a number for rank 1): the target of "clamp", the shift of
            "add".
        op: "clamp", "add" (f times the positive minus the negative mean), "ablate" (coordinates to zero), "as_trained",
            or another that the method brings; its default where None.
        positions: where, in the grammar of `das.data.positions`; as trained where None.
        concept: the concept in words, for methods that read it (HyperSteer, HyperDAS); one, or one per row.
        prompts: the rows' prompts, with [[marks]] around the steered span where the subspace's finder does not know
            it. Only needed for forwards that do not go through `generate`, and for marks.
        tokenizer: the model's own by default.
        allow_model_mismatch: steer another model than the subspace was learned in.

    Raises:
        ArtifactError: the subspace belongs to another model, or does not fit into this one.
        CapabilityError: the method cannot do this, or not without being told a concept.
        InputError: an unusable factor, value or concept.
        UnknownChoiceError, PositionError: no such position, or none in these prompts.
        SiteError: the site does not exist in this model.
    """
    if not allow_model_mismatch:
        subspace.check(model)
    subspace.check_sites(model)
    what = operation(subspace, op, factor, value)
    view, sites = ModelView(model), [p.write for p in subspace.interventions.placements]
    specs = [parse_positions(site.positions if positions is None else positions) for site in sites]
    reader = PromptReader(model, subspace, specs, tokenizer)
    bound = None if prompts is None else reader.from_texts(prompts)
    told = tell(model, subspace, reader, concept)
    run = Run(what.interventions, [view.bind(site) for site in sites], specs, what.factor, reader, bound, told)
    return Steering(model, subspace, what, run)


@final
class Steering:
    """An active steering; made by `steer`.

    Attributes:
        model: the steered model.
        subspace: what it is steered with.
        op: the operation.
        factor: the factor or factors, (1,) or (rows,); None where the operation takes none.
    """

    def __init__(self, model: nn.Module, subspace: Subspace, what: Operation, run: Run) -> None:
        self.model, self.subspace, self.op, self.factor, self._run = model, subspace, what.name, what.factor, run
        hub_of(model).add(run)

    @property
    def active(self) -> bool:
        """Whether it still steers."""
        return steers(self.model, self._run)

    @property
    def positions(self) -> tuple[str, ...]:
        """The steered positions, one per site."""
        return tuple(spec.text for spec in self._run.specs)

    def remove(self) -> None:
        """Stop steering; nothing happens the second time."""
        hub_of(self.model).remove(self._run)

    def __enter__(self) -> Steering:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        state = "active" if self.active else "removed"
        sites = ", ".join(f"{s.path} @ {p}" for s, p in zip(self._run.sites, self.positions, strict=True))
        factor = "" if self.factor is None else f"factor {self.factor.tolist()}, "
        return f"Steering({self.op}, {factor}{sites}, {state})"

    def encode(self, prompts: Sequence[AnyPrompt]) -> dict[str, Tensor]:
        """Left-padded `input_ids` and `attention_mask` of prompts (marks stripped), as `prompts=` expects the rows."""
        reader = self._run.reader
        return left_padded(self.model, reader.encoder, reader.from_texts(prompts))

    def generate(self, prompts: Sequence[AnyPrompt], max_new_tokens: int = 40, **generate_kwargs: Any) -> list[str]:
        """Continue prompts under this steering (and all others that are active); greedy unless told otherwise.

        Args:
            prompts: texts; [[marks]] around the steered span are stripped.
            max_new_tokens: length of the continuations.
            **generate_kwargs: for `model.generate`.

        Returns:
            The continuations alone, in order (as many per prompt as `num_return_sequences`).

        Raises:
            InputError: no prompts, or the steering has been removed.
            PositionError: a prompt does not have the steered span.
        """
        self._check_active()
        reader = self._run.reader
        encoded = reader.from_texts(prompts)
        rows = self.complete(encoded, max_new_tokens, **generate_kwargs)
        return continuation_texts(reader.tokenizer, encoded, rows)

    def complete(
        self, prompts: Sequence[EncodedPrompt], max_new_tokens: int, **generate_kwargs: Any
    ) -> list[tuple[int, ...]]:
        """Like `generate`, from encoded prompts to token ids, up to the end of text."""
        self._check_active()
        with self._bound(prompts):
            return complete(self.model, self._run.reader.encoder, prompts, max_new_tokens, **generate_kwargs)

    def _check_active(self) -> None:
        if not self.active:
            raise InputError("this steering has been removed", remedy="start another one with das.steer")

    @contextmanager
    def _bound(self, prompts: Sequence[EncodedPrompt]) -> Iterator[None]:
        before, self._run.prompts = self._run.prompts, prompts
        try:
            yield
        finally:
            self._run.prompts = before
