"""What training minimises. One objective per file; `base` has the interface and the token-weighted mean."""

from __future__ import annotations

from typing import Any

from das.members import Members

_MEMBERS = Members(__name__, "OBJECTIVE", "objective")


def objective(name: str, **settings: Any) -> Any:
    """An objective by the name of its file, whose `OBJECTIVE` it is, with settings.

    Raises:
        UnknownChoiceError: there is no such objective.
    """
    return _MEMBERS.get(name)(**settings)


def names() -> tuple[str, ...]:
    """All objectives."""
    return _MEMBERS.names()
