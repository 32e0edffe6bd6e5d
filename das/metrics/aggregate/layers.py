"""Over layers and positions: MIB's "average" and "best", and CausalGym's score.

    MIB         unit (layer, position): mean over counterfactual sets; a layer: its best position;
                reported: mean over layers ("average") and maximum over layers ("best")
    CausalGym   the same mean over layers of the best position (arXiv 2402.12560), of log odds-ratios
    selectivity odds(task) - odds(control task), per unit, before any maximum

Source: code of aaronmueller/MIB, atticusg/CausalAbstraction, aryamanarora/causalgym. The mean of the maxima of single
counterfactual sets is another number, and larger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from das.errors import EmptySplitError, InputError

#: (layer, position) -> a number.
Units = Mapping[tuple[int, str], float]


@dataclass(frozen=True)
class OverLayers:
    """What is reported of all layers.

    Attributes:
        average: mean over layers of the best position.
        best: the largest of all units.
        layer, position: the unit that has it.
        by_layer: layer -> value of its best position.
    """

    average: float
    best: float
    layer: int
    position: str
    by_layer: Mapping[int, float]


def over_layers(units: Units) -> OverLayers:
    """Best position of every layer, their mean, and the best of all (the first one of equals).

    Raises:
        EmptySplitError: no units.
        InputError: a value is NaN.
    """
    if not units:
        raise EmptySplitError("there is no unit to aggregate", got=0, remedy="give (layer, position) -> value")
    for unit, value in units.items():
        if value != value:
            raise InputError("a unit has no value", got=f"NaN at {unit}", remedy="leave it out, or measure it again")
    by_layer: dict[int, float] = {}
    for (layer, _), value in units.items():
        by_layer[layer] = max(value, by_layer.get(layer, value))
    layer, position = max(units, key=lambda unit: units[unit])
    return OverLayers(sum(by_layer.values()) / len(by_layer), units[layer, position], layer, position, by_layer)


def mib(units: Mapping[tuple[int, str], Mapping[str, float]]) -> OverLayers:
    """MIB: as `over_layers`, each unit being the mean over its counterfactual sets.

    Args:
        units: (layer, position) -> counterfactual set -> accuracy; all units have the same sets.

    Raises:
        EmptySplitError: no units, or one without sets.
        InputError: units with different sets, or a NaN.
    """
    sets = {tuple(sorted(values)) for values in units.values()}
    if len(sets) > 1:
        raise InputError("units differ in their counterfactual sets", got=sorted(sets), remedy="measure all on all")
    if () in sets:
        raise EmptySplitError("units have no counterfactual sets", got=0)
    return over_layers({unit: sum(values.values()) / len(values) for unit, values in units.items()})


def selectivity(task: Units, control: Units) -> dict[tuple[int, str], float]:
    """Per unit odds(task) - odds(control), in nats.

    Raises:
        InputError: the two were not measured at the same units.
    """
    if set(task) != set(control):
        raise InputError(
            "task and control were not measured at the same units", got=sorted(set(task) ^ set(control)),
            remedy="measure both at all units",
        )  # fmt: skip
    return {unit: task[unit] - control[unit] for unit in task}
