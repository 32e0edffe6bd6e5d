"""`das.fold`: a copy of a model with an intervention written into its weights, where that is exact.

    ablated = das.fold(model, subspace)
    ablated.save_pretrained("ablated")

Exact for edits that are affine in the activation, at all positions (the prefix too: "from:0"), and
    beside a matrix    any of them: attention_output, mlp_output, head_attention_value_output, mlp_hidden, projections
    in the stream      a constant shift (block_input, resid_mid, block_output), or one projection wherever it is read,
                       as directional ablation does it                         (`das.folding.stream`)
A shift needs a bias: Llama's is switched on in the config, a model without such a flag is refused. Every fold is
checked against the hooked model before it is returned, relative to what the steering changes: a change that 16-bit
weights cannot hold is refused.
Cost     a copy of the model and three short forwards; in 16 bits one more copy, in fp32, for the check
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from das.artifacts.subspace import Subspace
from das.data.positions import PositionSpec, parse_positions
from das.errors import CapabilityError, InputError
from das.folding.copying import roomy_copy
from das.folding.matrices import Step, needs_bias, outer_tables, rewrite, rewrite_embeddings
from das.folding.places import Point, place
from das.folding.stream import stream_edits
from das.folding.verify import check_fold
from das.interventions.affine import AffineMap, affine_map
from das.models.families import BoundSite, ModelView
from das.steering.hub import hub_of
from das.steering.operations import Factor, operation

Model = TypeVar("Model", bound=nn.Module)


def fold(
    model: Model,
    subspace: Subspace,
    factor: Factor | None = None,
    *,
    value: Factor | None = None,
    op: str | None = None,
    positions: str | None = None,
    allow_model_mismatch: bool = False,
) -> Model:
    """A copy of the model that does without hooks what `das.steer` does with them, at every token.

    Args:
        model: the model the subspace was learned in; not changed.
        subspace: what to fold.
        factor, value, op: as in `das.steer`; one factor, not one per row.
        positions: "from:0" folds a subspace that was trained at other positions, "all" among them.
        allow_model_mismatch: fold into another model than the subspace was learned in.

    Returns:
        A new model of the same class, for `save_pretrained`.

    Raises:
        CapabilityError: it cannot be exact; the message says why.
        ArtifactError: the subspace belongs to another model, or does not fit into this one.
        InputError: an unusable factor or value, or the model is being steered.
        SiteError: the site does not exist in this model.
    """
    if not allow_model_mismatch:
        subspace.check(model)
    subspace.check_sites(model)
    if hub_of(model).runs:
        raise InputError("the model is being steered, which a fold would not know of", remedy="remove the steering")
    what = operation(subspace, op, factor, value)
    view, sites = ModelView(model), [p.write for p in subspace.interventions.placements]
    for site in sites:
        _check_positions(parse_positions(site.positions if positions is None else positions))
    if what.factor is not None and len(what.factor) > 1:
        raise CapabilityError(
            "weights are the same for all rows, factors are not", got=f"factors {what.factor.tolist()}",
            remedy="fold one factor, or steer with das.steer",
        )  # fmt: skip
    bound = [view.bind(site) for site in sites]
    maps = [affine_map(x, what.factor) for x in what.interventions]
    folded = _rewritten(view, bound, maps)
    check_fold(model, folded, list(zip(bound, what.interventions, strict=True)), what.factor)
    return folded


def _rewritten(view: ModelView, sites: list[BoundSite], maps: list[AffineMap]) -> Any:
    steps: list[Step] = []
    stream: list[tuple[Point, AffineMap]] = []
    for site, made in zip(sites, maps, strict=True):
        where = place(view, site)
        if isinstance(where, Point):
            stream.append((where, made))
        else:
            steps.append(Step(where.path, where.side, where.stage, where.columns, made))
    edits = stream_edits(view, stream, steps)
    by_path: dict[str, list[Step]] = {}
    for step in [*steps, *edits.steps]:
        by_path.setdefault(step.path, []).append(step)
    biased = [path for path, own in by_path.items() if needs_bias(view.model.get_submodule(path), own)]
    folded = roomy_copy(view.model, biased, untied=edits.embedding is not None)
    for path, own in by_path.items():
        rewrite(folded.get_submodule(path), own)
    if edits.embedding is not None:
        rewrite_embeddings(folded, outer_tables(view.model, view.blocks, view.width), edits.embedding)
    return folded


def _check_positions(spec: PositionSpec) -> None:
    if (spec.kind, spec.numbers) == ("from", (0,)):
        return
    why = "which leaves the protected prefix (BOS, chat header) alone" if spec.kind == "all" else "not everywhere"
    raise CapabilityError(
        "weights act on every token, and this edit does not", got=f"positions {spec.text!r}, {why}",
        remedy=f"steer with das.steer, which keeps to {spec.text!r}; positions='from:0' folds it into every token, "
        "where it was not trained and the text may suffer: read what the model writes",
    )  # fmt: skip
