"""Edits of the residual stream, as edits of all that writes to it.

Shift        h' = h + o at a point: o joins the bias of the last projection before it, or the token embedding
Projection   h' = M h + o with M M = M, M o = 0 wherever the stream is read: every writer W <- M W, b <- M b, and the
             embedding E <- E M^T + o. Where a writer's own output is edited by the same M and o = 0, what is read
             after it counts as edited
Raises       CapabilityError for anything else: a single edit that looks at the stream would also need the skip path to
             pass through a weight, which it does not
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from das.errors import CapabilityError
from das.folding.matrices import Step
from das.folding.places import Point
from das.interventions.affine import AffineMap
from das.models.families import ModelView
from das.models.writers import Writers


@dataclass(frozen=True)
class StreamEdits:
    """Steps at the writers, and what happens to the embedding (None: nothing)."""

    steps: Sequence[Step]
    embedding: AffineMap | None


def stream_edits(view: ModelView, edits: Sequence[tuple[Point, AffineMap]], beside: Sequence[Step]) -> StreamEdits:
    """Edits of the stream as edits of its writers.

    Args:
        view: the model.
        edits: what is done at which points.
        beside: what is done to single matrices; it may stand in for an edit of the stream.

    Raises:
        CapabilityError: there is no exact way.
    """
    if not edits:
        return StreamEdits((), None)
    blocks = [_writers(view, layer) for layer in range(view.n_layers)]
    if all(made.constant for _, made in edits):
        return _shifts(blocks, edits)
    return _projections(blocks, edits, beside)


def _shifts(blocks: Sequence[Writers], edits: Sequence[tuple[Point, AffineMap]]) -> StreamEdits:
    steps, start = [], None
    for point, made in edits:
        if point == Point(0):
            start = made if start is None else _shift(start.offset + made.offset)
            continue
        block = blocks[point.block] if point.mid else blocks[point.block - 1]
        if block.normed:
            raise _normed(point)
        steps.append(Step(block.attention if point.mid else block.mlp, "output", 2, None, made))
    return StreamEdits(steps, start)


def _projections(
    blocks: Sequence[Writers], edits: Sequence[tuple[Point, AffineMap]], beside: Sequence[Step]
) -> StreamEdits:
    made, places = edits[0][1], {point for point, _ in edits}
    if any(block.normed for block in blocks):
        raise _normed(edits[0][0])
    if not all(other.equals(made) for _, other in edits[1:]) or not made.projects:
        raise CapabilityError(
            "an edit that depends on the residual stream folds only as one projection, the same wherever it is read",
            got=", ".join(map(str, sorted(places))),
            remedy="ablate or clamp to one value at all of block_input, resid_mid and the last block_output, or train "
            "at attention_output or mlp_output",
        )
    unedited = [str(p) if p.block < len(blocks) else "the final norm" for p in _unedited(blocks, places, made, beside)]
    if unedited:
        raise CapabilityError(
            "the residual stream is also read where it is not edited, so the edit is not exact in weights",
            got=", ".join(unedited), remedy="edit the stream wherever it is read, or steer with das.steer",
        )  # fmt: skip
    linear = AffineMap(made.write, made.read, torch.zeros_like(made.offset))
    steps = [Step(path, "output", 2, None, linear) for block in blocks for path in (block.attention, block.mlp)]
    return StreamEdits(steps, made)


def _unedited(
    blocks: Sequence[Writers], places: set[Point], made: AffineMap, beside: Sequence[Step]
) -> Iterator[Point]:
    """Points at which what is read does not lie in the projection's image."""
    last: Mapping[str, Step] = {
        step.path: step for step in sorted(beside, key=lambda s: s.stage) if step.side == "output"
    }

    def covered(path: str) -> bool:
        step = last.get(path)
        return not made.shifts and step is not None and step.columns is None and step.map.equals(made)

    inside = False
    for layer, block in enumerate(blocks):
        inside = inside or Point(layer) in places
        if not inside:
            yield Point(layer)
        inside = inside and covered(block.attention)
        if not block.parallel:
            inside = inside or Point(layer, mid=True) in places
            if not inside:
                yield Point(layer, mid=True)
        inside = inside and covered(block.mlp)
    if not inside and Point(len(blocks)) not in places:
        yield Point(len(blocks))


def _writers(view: ModelView, layer: int) -> Writers:
    found = view.writers(layer)
    if found is None:
        raise CapabilityError(
            "it is not known what writes to the residual stream of this model", got=view.family,
            remedy="intervene at a projection, or steer with das.steer",
        )  # fmt: skip
    return found


def _shift(offset: torch.Tensor) -> AffineMap:
    nothing = offset.new_zeros(len(offset), 1)
    return AffineMap(nothing, nothing, offset)


def _normed(point: Point) -> CapabilityError:
    return CapabilityError(
        "this model norms what its blocks write, and an edit of the stream does not pass through a norm",
        got=str(point), remedy="intervene at attention_output or mlp_output, or steer with das.steer",
    )  # fmt: skip
