"""Members are files that say that they are; helpers beside them are no choices."""

from __future__ import annotations

import pytest

import das.methods
import das.objectives
from das.errors import UnknownChoiceError
from das.members import Members
from tests.contracts.groups import names


def test_every_objective_and_method_has_a_yaml_and_the_other_way_round():
    assert list(das.objectives.names()) == names("objective")
    assert list(das.methods.names()) == names("intervention")


@pytest.mark.parametrize("helper", ["base", "chunked", "sequences", "nothing"])
def test_helpers_are_no_members(helper):
    with pytest.raises(UnknownChoiceError, match="jsd"):
        das.objectives.objective(helper)


def test_nothing_is_a_member_without_the_attribute():
    assert Members("das.objectives", "METHOD", "method").names() == ()
