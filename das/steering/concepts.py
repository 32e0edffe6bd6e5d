"""What a steering is told in words: a concept's description, as the unsteered model reads it.

Conditioners were trained on activations of the description's tokens at their own site (`das.types.CONCEPT`); here the
same activations are read once, when a steering starts.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from das.artifacts.subspace import Subspace
from das.batch import Positions, TokenBatch
from das.data.collate import pad
from das.data.positions import parse_positions, resolve
from das.engine.read import read
from das.errors import CapabilityError, InputError
from das.models.families import ModelView
from das.steering.hub import unsteered
from das.steering.prompted import Told
from das.steering.prompts import PromptReader
from das.types import CONCEPT, Prompt

#: One description for all rows, or one per row.
Described = str | Prompt | Sequence[str | Prompt]


def tell(model: nn.Module, subspace: Subspace, reader: PromptReader, concept: Described | None) -> list[Told | None]:
    """Read the descriptions wherever an intervention looks at them.

    Args:
        model: steered or not; it is read unsteered.
        subspace: says where.
        reader: encodes descriptions as prompts were in training.
        concept: None for methods that need none.

    Raises:
        CapabilityError, InputError: as `check_concept`.
    """
    check_concept(subspace, concept)
    sets = subspace.interventions
    if concept is None:
        return [None] * len(sets)
    encoded = list(reader.encoder.encode_all(_prompts(concept)))
    ids, mask = pad([list(e.ids) for e in encoded], reader.encoder.pad_id)
    view = ModelView(model)
    told: list[Told | None] = []
    tokens = TokenBatch(ids, mask).to(view.device)
    for placement, x in zip(sets.placements, sets, strict=True):
        if not x.seen:
            told.append(None)
            continue
        site = placement.reads[CONCEPT]
        spec = parse_positions(site.positions)
        where = Positions(*pad([[i for group in resolve(spec, e) for i in group] for e in encoded], 0))
        with unsteered(model):
            [activation] = read(view, tokens, [(view.bind(site), where.to(view.device))])
        told.append(Told(activation, where.mask.to(activation.device)))
    return told


def check_concept(subspace: Subspace, concept: Described | None) -> None:
    """Whether there is a description exactly where one is read.

    Raises:
        CapabilityError: a method needs a description and has none, or it needs what nobody can tell it.
        InputError: a description for methods that read none, or an empty one.
    """
    for x in subspace.interventions:
        if unknown := sorted(set(x.seen) - {CONCEPT}):
            raise CapabilityError(f"method {x.name!r} cannot be steered: it looks at sources", got=str(unknown))
        if concept is None and x.seen:
            raise CapabilityError(
                f"method {x.name!r} steers towards a concept that is described in words", got="no description",
                remedy='give concept="..." (in Python also one per row)',
            )  # fmt: skip
    if concept is not None and not any(x.seen for x in subspace.interventions):
        raise InputError("these methods read no description of a concept", got=repr(concept), remedy="leave it out")
    if concept is not None:
        _prompts(concept)


def _prompts(concept: Described) -> list[Prompt]:
    given = [concept] if isinstance(concept, str | Prompt) else list(concept)
    prompts = [Prompt(text) if isinstance(text, str) else text for text in given]
    if not prompts or not all(p.text.strip() for p in prompts):
        raise InputError("a concept's description is empty", got=repr(concept), remedy="describe it in words")
    return prompts
