"""Settings against the type hints of what they are for: a wrong type is one line, before anything is built.

Checked are the types that a yaml can hold: numbers, truth values, texts, choices, lists and mappings of them. Other
hints are left to whoever takes the value.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from das.errors import ConfigError, UnknownChoiceError

_NAMES: dict[Any, str] = {
    int: "an integer", float: "a number", bool: "true or false", str: "a text", type(None): "null",
}  # fmt: skip


def checked_arguments(
    function: Callable[..., Any], arguments: Mapping[str, Any], where: str, deferred: bool = False
) -> dict[str, Any]:
    """Refuse arguments that the target does not take, or that have the wrong type, before it is called.

    Args:
        function: the target.
        arguments: its settings.
        where: the key of its section, e.g. "intervention".
        deferred: whether some arguments are given later.

    Returns:
        The arguments, integers as floats where a float is wanted.

    Raises:
        ConfigError: one is missing, unknown, or of another type.
        UnknownChoiceError: one is none of the values it can take.
    """
    _check_names(function, arguments, where, deferred)
    hints = _hints(function)
    for name, value in arguments.items():
        check_value(value, hints.get(name, Any), f"{where}.{name}")
    return {name: _floated(value, hints.get(name, Any)) for name, value in arguments.items()}


def check_value(value: Any, hint: Any, key: str) -> None:
    """Raise unless a value fits a hint; `key` is its full name."""
    choices = [choice for one in _flat(hint) if get_origin(one) is Literal for choice in get_args(one)]
    others = [one for one in _flat(hint) if get_origin(one) is not Literal]
    if value in choices or any(_fits(value, one) for one in others):
        return
    if choices and isinstance(value, str):
        raise UnknownChoiceError(f"value of {key}", value, map(str, choices))
    inner = next((one for one in others if _is_mapping(one)), None)
    if isinstance(value, Mapping) and inner is not None:
        for name, entry in value.items():
            check_value(entry, get_args(inner)[1], f"{key}.{name}")
    wanted = " or ".join([*(_named(one) for one in others), *map(repr, choices)])
    raise ConfigError(f"{key} must be {wanted}", got=repr(list(value) if isinstance(value, tuple) else value))


def whole(value: Any, key: str) -> int:
    """An integer, or a `ConfigError`."""
    check_value(value, int, key)
    return int(value)


def truth(value: Any, key: str) -> bool:
    """True or false, or a `ConfigError`."""
    check_value(value, bool, key)
    return bool(value)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value fits one hint that is no union; hints that are not known here fit all."""
    if hint is bool or hint is str or hint is type(None):
        return isinstance(value, hint)
    if hint is int or hint is float:
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    arguments = get_args(hint)
    if _is_mapping(hint):
        return isinstance(value, Mapping) and all(_fits_any(v, arguments[1]) for v in value.values())
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            return False
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(_fits_any(v, arguments[0]) for v in value)
        return len(value) == len(arguments) and all(map(_fits_any, value, arguments))
    if _is_sequence(hint):
        return isinstance(value, list | tuple) and all(_fits_any(v, arguments[0]) for v in value)
    return True


def _floated(value: Any, hint: Any) -> Any:
    """A value that fits a hint, with floats where the hint says float and no integer."""
    members = list(_flat(hint))
    if type(value) is int and float in members and int not in members:
        return float(value)
    arguments = get_args(hint)
    if isinstance(value, tuple) and get_origin(hint) is tuple and Ellipsis not in arguments:
        return tuple(map(_floated, value, arguments))
    return value


def _fits_any(value: Any, hint: Any) -> bool:
    return any(value in get_args(o) if get_origin(o) is Literal else _fits(value, o) for o in _flat(hint))


def _flat(hint: Any) -> Iterator[Any]:
    """The members of a union, at any depth; the hint itself otherwise."""
    if get_origin(hint) in (Union, types.UnionType):
        for one in get_args(hint):
            yield from _flat(one)
    else:
        yield hint


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint)
    return inspect.isclass(origin) and issubclass(origin, Mapping) and len(get_args(hint)) == 2


def _is_sequence(hint: Any) -> bool:
    origin = get_origin(hint)
    return inspect.isclass(origin) and issubclass(origin, Sequence) and len(get_args(hint)) == 1


def _named(hint: Any) -> str:
    """A hint in words."""
    if hint in _NAMES:
        return _NAMES[hint]
    arguments = get_args(hint)
    if _is_mapping(hint):
        return "a mapping"
    if get_origin(hint) is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)} values"
    return "a list" if get_origin(hint) is tuple or _is_sequence(hint) else str(hint)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Type hints of a target's arguments; none where they cannot be read."""
    try:
        return get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:  # names that exist for type checkers only, callables without hints
        return {}


def _check_names(function: Callable[..., Any], arguments: Mapping[str, Any], where: str, deferred: bool) -> None:
    try:
        signature = inspect.signature(function)
        (signature.bind_partial if deferred else signature.bind)(**arguments)
    except TypeError as error:
        name = getattr(function, "__qualname__", str(function))
        missing = str(error).startswith("missing a required argument")
        remedy = "what is given later needs `_partial_: true` in the yaml" if missing and not deferred else ""
        raise ConfigError(
            f"{where}: {name} cannot be built from its settings", got=str(error), remedy=remedy
        ) from error
    except ValueError:  # a builtin without a signature
        return
