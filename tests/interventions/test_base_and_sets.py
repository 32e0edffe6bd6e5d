"""The one equation, and sets of interventions with their placements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import pytest
import torch
from torch import Tensor

from das.conditioners.base import Conditioner, ConditionerResult
from das.conditioners.hyper_vector import HyperVector
from das.context import Context
from das.edits.add import Add
from das.edits.base import Edit, EditResult
from das.edits.lerp import Lerp
from das.edits.mean_top_k import MeanTopK
from das.edits.swap import Swap
from das.edits.zero import Zero
from das.errors import CapabilityError, ConfigError
from das.featurizers.base import Featurizer
from das.featurizers.identity import Identity
from das.featurizers.rotation import Rotation
from das.featurizers.row_vector import RowVector
from das.gates.base import Gate, Selective
from das.gates.boundary import Boundary
from das.gates.sigmoid_mask import SigmoidMask
from das.interventions.base import Intervention
from das.interventions.sets import InterventionSet, Placement
from das.methods.das import das
from das.methods.full_vector import full_vector
from das.types import Site

WIDTH = 8


@final
class Half(Gate):
    """Half of the first coordinate, none of the others; reports its share."""

    def forward(self, z: Tensor, h: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        share = torch.zeros_like(z)
        share[..., 0] = 0.5
        return share, {"share": share.mean()}

    def params(self) -> dict[str, Any]:
        return {}


def activations() -> tuple[Tensor, Mapping[str, Tensor]]:
    h, s = torch.randn(2, 3, 2, WIDTH)
    return h, {"source": s}


def test_a_gate_scales_the_change_and_reports():
    h, sources = activations()
    rotation = Rotation(WIDTH, 2)
    edited = Intervention(rotation, Swap(), Half())(h, sources)
    r = rotation.basis.detach()
    want = h + 0.5 * ((sources["source"] - h) @ r[:, :1]) @ r[:, :1].T
    assert torch.allclose(edited.activation, want, atol=1e-6)
    assert float(edited.aux["share"]) == 0.25


def test_an_intervention_that_needs_a_source_says_so():
    h, _ = activations()
    with pytest.raises(CapabilityError, match="a swap needs its source's activations"):
        das(WIDTH)(h)
    Intervention(Rotation(WIDTH, 1), Zero())(h)


def test_coordinates_are_in_full_precision():
    h, _ = activations()
    method = das(WIDTH, 2)
    assert method.coordinates(h.bfloat16()).dtype == torch.float32
    assert method.coordinates(h.double()).dtype == torch.float64
    assert torch.allclose(method.coordinates(h), h @ method.featurizer.basis)


def test_sources_are_read_where_the_site_says():
    site = Site(1, positions="span:name:last", source_positions="last")
    [placement] = InterventionSet([(site, das(WIDTH))]).placements
    assert placement.write == site
    assert placement.reads == {"source": Site(1, positions="last")}
    [without] = InterventionSet([(site, Intervention(Rotation(WIDTH, 1), Zero()))]).placements
    assert without.reads == {}


def test_a_placement_must_name_every_source():
    with pytest.raises(ConfigError, match=r"lacks read sites for its edit's sources\. Got \['source'\]"):
        InterventionSet([(Placement(Site(0), {"other": Site(0)}), das(WIDTH))])
    elsewhere = InterventionSet([(Placement(Site(3), {"source": Site(0)}), das(WIDTH))])
    assert elsewhere.sources == ("source",) and elsewhere.placements[0].reads["source"].layer == 0


def test_an_empty_set_is_refused():
    with pytest.raises(ConfigError, match="at least one intervention"):
        InterventionSet([])


def test_learned_means_that_something_is_trainable():
    frozen = full_vector(WIDTH)
    assert not InterventionSet([(Site(0), frozen)]).learned
    both = InterventionSet([(Site(0), frozen), (Site(1), das(WIDTH))])
    assert both.learned and not both.requires_grad_(False).learned


def test_the_same_object_twice_is_tied():
    shared = das(WIDTH, 2)
    tied = InterventionSet([(Site(0), shared), (Site(1), shared)])
    assert len(tied) == 2 and len(list(tied.parameters())) == 1
    first, second = tied
    assert first is second is shared


def test_upkeep_reaches_every_member():
    pair = InterventionSet([(Site(0), das(WIDTH, 2)), (Site(1), das(WIDTH, 3))])
    for x in pair:
        x.featurizer.weight.grad = torch.randn_like(x.featurizer.weight)
        x.featurizer.weight.data *= 2.0
    assert pair.invariants() == pytest.approx({"0/orthonormal": 3.0, "1/orthonormal": 3.0}, abs=1e-5)
    pair.retract()
    assert max(pair.invariants().values()) <= 1e-5
    pair.project_gradient()
    for x in pair:
        inner = x.featurizer.weight.detach().T @ x.featurizer.weight.grad
        assert float((inner + inner.T).abs().max()) <= 1e-5


def test_what_an_intervention_can_be_steered_with():
    added = Intervention(Rotation(WIDTH, 1), Add(1))
    assert added.operations == ("as_trained", "clamp", "add", "ablate") and added.name == "custom"
    assert das(WIDTH).operations == ("clamp", "add", "ablate"), "a swap needs its source, so it cannot steer"
    assert "ablate" not in full_vector(WIDTH).operations, "nothing would be left"
    assert Intervention(Rotation(WIDTH, 1), Add(1), steering={}).operations == ("as_trained",)


@final
class Pooled(Gate):
    """Opens by the mean over positions."""

    scope = "sequence"

    def forward(self, z: Tensor, h: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return z.mean(1, keepdim=True).sigmoid(), {}

    def params(self) -> dict[str, Any]:
        return {}


def test_the_scope_is_that_of_its_parts():
    assert das(WIDTH).scope == "token"
    pooled = Intervention(Rotation(WIDTH, 1), Add(1), Pooled())
    assert pooled.scope == "sequence" and pooled.operations == ("as_trained", "clamp", "add", "ablate")
    shared = Intervention(Rotation(WIDTH, 1), MeanTopK())
    assert shared.scope == "sequence" and shared.operations == ("clamp", "add", "ablate")


@final
class TwoOfFour(Gate, Selective):
    """Two coordinates are open."""

    def forward(self, z: Tensor, h: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return self.support().to(z)[None, None], {}

    def support(self) -> Tensor:
        return torch.tensor([True, False, False, True])

    def params(self) -> dict[str, Any]:
        return {}


class Squared(Featurizer):
    """Coordinates whose decoder is not linear: h is the square of its coordinates, of any sign."""

    def __init__(self) -> None:
        super().__init__()
        self.width = self.rank = WIDTH

    def frame(self, ctx: Context) -> Squared:
        return self

    def coordinates(self, h: Tensor) -> Tensor:
        return h.sqrt()

    def lift(self, dz: Tensor, z: Tensor) -> Tensor:
        return (z + dz).square() - z.square()

    def params(self) -> dict[str, Any]:
        return {}


def test_a_change_may_mean_something_else_at_other_coordinates():
    h, s = torch.rand(2, 2, 1, WIDTH) + 0.1
    swapped = Intervention(Squared(), Swap())(h, {"source": s}).activation
    assert torch.allclose(swapped, s, atol=1e-6)
    assert not torch.allclose(Intervention(Identity(WIDTH), Swap(), Half())(h, {"source": s}).activation, s)


@pytest.mark.parametrize("gate", [SigmoidMask(1), Boundary(1)], ids=["mask", "boundary"])
def test_what_anneals_asks_how_far_training_is(gate):
    """Without being told, a mask in train mode would be hard and have no gradient."""
    x, (h, sources) = Intervention(Rotation(WIDTH, 1), Swap(), gate).train(), activations()
    with pytest.raises(CapabilityError, match=r"changes while it is trained.*Context\(progress=step / steps\)"):
        x(h, sources)
    x(h, sources, Context(progress=0.5)).activation.sum().backward()
    [learned] = gate.parameters()
    assert float(learned.grad.abs().sum()) > 0
    hard = x.eval()(h, sources).activation
    assert torch.equal(hard, x(h, sources, Context(progress=1.0)).activation)


def test_the_dimension_is_what_the_gate_leaves_open():
    assert das(WIDTH, 3).dimension == 3
    assert Intervention(Rotation(WIDTH, 4), Swap(), TwoOfFour()).dimension == 2


def test_two_parts_may_not_report_under_one_name():
    h, sources = activations()

    @final
    class Telling(Gate):
        def forward(self, z: Tensor, h: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
            return torch.ones_like(z), {"told": z.mean()}

        def params(self) -> dict[str, Any]:
            return {}

    @final
    class TellingToo(Edit):
        def forward(self, z: Tensor, h: Tensor, sources: Mapping[str, Tensor], ctx: Context) -> EditResult:
            return z, {"told": z.mean()}

        def params(self) -> dict[str, Any]:
            return {}

    with pytest.raises(ConfigError, match=r"report under the same name\. Got \['told'\]"):
        Intervention(Rotation(WIDTH, 1), TellingToo(), Telling())(h, sources)


def test_a_conditioner_speaks_to_all_parts():
    h, _ = activations()

    @final
    class Doubler(Conditioner):
        gives = ("times",)

        def forward(self, h: Tensor, sources: Mapping[str, Tensor], ctx: Context) -> ConditionerResult:
            return {"times": torch.arange(len(h)).to(h)}, {"seen": h.mean()}

        def params(self) -> dict[str, Any]:
            return {}

    @final
    class Times(Edit):
        wants = ("times",)

        def forward(self, z: Tensor, h: Tensor, sources: Mapping[str, Tensor], ctx: Context) -> EditResult:
            return ctx.per_row["times"][:, None, None] * z, {}

        def params(self) -> dict[str, Any]:
            return {}

    edited = Intervention(Identity(WIDTH), Times(), conditioner=Doubler())(h)
    assert torch.allclose(edited.activation, torch.arange(len(h))[:, None, None] * h, atol=1e-6)
    assert torch.equal(edited.aux["seen"], h.mean())
    with pytest.raises(ConfigError, match=r"already.*'times'"):
        Intervention(Identity(WIDTH), Times(), conditioner=Doubler())(h, ctx=Context(per_row={"times": h[:, 0, 0]}))
    with pytest.raises(ConfigError, match=r"Times wants \['times'\] of every row.*HyperVector, which gives"):
        Intervention(RowVector(WIDTH), Times(), conditioner=HyperVector(WIDTH, 8, 1, 2))


def test_a_steering_template_that_holds_values_is_refused():
    with pytest.raises(ConfigError, match="'erase' holds values"):
        Intervention(Rotation(4, 1), Swap(), steering={"erase": Lerp(1, torch.tensor([3.0]))})
