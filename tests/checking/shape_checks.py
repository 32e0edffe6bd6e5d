"""The shape checker of the tests: beartype, except on functions made anew in every call (decorating those is slow)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, its arguments and results checked; closures as they are."""
    return function if "<locals>" in function.__qualname__ else beartype(function)
