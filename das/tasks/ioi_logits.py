"""MIB's linear model of the logit difference in `das.tasks.ioi` (arXiv 2504.13151).

Equation   logit(IO) - logit(S) = constant + token t + position p, IO and S those of the base
           t = +1 if the output token is the base's own, else -1; p the same of the output position
Units      logits; MIB scores an interchange by its mean squared error
Raises     InputError where the source's token is a third name, or where counterfactuals do not tell t and p apart

Without an interchange t = p = 1. To fit it, what carries both variables is patched in full, with sources of each flip
and with the base itself as the source: `das.patching.logit_differences` measures that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from das.errors import ConfigError, InputError
from das.tasks.ioi_model import CAUSAL_MODEL, NAMED, VARIABLES
from das.types import SOURCE, CounterfactualPair

#: t and p of one interchange, and the logit difference measured under it.
Measured = tuple[int, int, float]


@dataclass(frozen=True)
class LogitDifference:
    """The three coefficients."""

    constant: float
    token: float
    position: float

    @classmethod
    def of(cls, coefficients: Sequence[float]) -> LogitDifference:
        """From a list.

        Raises:
            ConfigError: not three numbers.
        """
        try:
            constant, token, position = map(float, coefficients)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                "the linear model has three coefficients", got=coefficients, remedy="give [constant, token, position]"
            ) from error
        return cls(constant, token, position)

    def __call__(self, t: int, p: int) -> float:
        """The logit difference."""
        return self.constant + self.token * t + self.position * p

    def error(self, rows: Iterable[Measured]) -> float:
        """Mean squared error, in squared logits.

        Raises:
            InputError: no rows.
        """
        errors = [(self(t, p) - measured) ** 2 for t, p, measured in rows]
        if not errors:
            raise InputError("there is nothing to compare with", got="no rows")
        return sum(errors) / len(errors)


#: As MIB fitted it on GPT-2 small.
GPT2 = LogitDifference(0.295, 0.63, 2.235)


def signs(
    base: Mapping[str, str], source: Mapping[str, str], variables: Collection[str] = VARIABLES
) -> tuple[int, int]:
    """t and p when variables are taken from a source; names as the causal model's inputs."""
    own, other = CAUSAL_MODEL.run(base), CAUSAL_MODEL.run(source)
    if "output_token" in variables and other["output_token"] not in (base["name_A"], base["name_B"]):
        raise InputError(
            "the logit difference is about the base's names", got=f"the source's {other['output_token']}",
            remedy="use sources that reuse them: s1_io_flip, s2_io_flip, s1_io_flip_s2_io_flip",
        )  # fmt: skip
    t, p = (1 if v not in variables or own[v] == other[v] else -1 for v in VARIABLES)
    return t, p


def signs_of(pair: CounterfactualPair, variables: Collection[str] = VARIABLES) -> tuple[int, int]:
    """The same of a pair of the task, whose names are its prompts' spans."""
    base, source = ({n: p.text[slice(*p.spans[n][0])] for n in NAMED} for p in (pair.base, pair.sources[SOURCE]))
    return signs(base, source, variables)


def fitted(rows: Iterable[Measured]) -> LogitDifference:
    """Ordinary least squares."""
    table = [((1.0, float(t), float(p)), measured) for t, p, measured in rows]
    gram = [[sum(x[i] * x[j] for x, _ in table) for j in range(3)] for i in range(3)]
    right = [sum(x[i] * y for x, y in table) for i in range(3)]
    whole = _determinant(gram)
    if abs(whole) < 1e-9:
        raise InputError(
            "these interchanges do not tell the coefficients apart", got=f"{len(table)} rows",
            remedy="give sources of every flip, and the base itself",
        )  # fmt: skip
    swapped = [[[right[i] if j == k else gram[i][j] for j in range(3)] for i in range(3)] for k in range(3)]
    return LogitDifference(*(_determinant(m) / whole for m in swapped))


def _determinant(m: list[list[float]]) -> float:
    (a, b, c), (d, e, f), (g, h, i) = m
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
