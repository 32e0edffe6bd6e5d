"""cdas_mini (T7): CDAS steers generation in a language whose judgements are exact (arXiv 2602.05234, 2501.17148).

Model as in `das.models.recipes.cdas_mini`. Sources are read at the prompt's last token and written everywhere, as CDAS
does. Plain prompts are steered to grand words (elicitation) and grand ones to plain words (removal) with multiples of
the training prompts' mean coordinate; the first half of the test prompts picks the multiple, the second half reports.
Beside it: DAS trained on labels, the difference in means, a random direction, a later layer. About a minute per seed.
"""

from __future__ import annotations

from typing import final

from torch import nn

from das.bench.base import Gate
from das.bench.fits import fitted
from das.methods import method
from das.metrics.fidelity import Fidelity
from das.metrics.iia import IIA
from das.models.load import load_model
from das.steering.judged import judge_steering
from das.steering.judges.oracle import Oracle
from das.tasks.two_lexicons import GRAND, LENGTH, LEXICONS, OPENERS, TwoLexicons, contents_of
from das.training.fit import Fit
from das.training.recipe import Method
from das.types import Prompt, Site

LAYER, MULTIPLES, PROMPTS = 1, (1.0, 1.5, 2.0, 3.0), 40
METRICS = {"iia": IIA(), "fidelity": Fidelity()}


@final
class CDASMini:
    """The benchmark."""

    title = "CDAS steers the choice of words in a language of two lexicons"

    def run(self, seed: int) -> list[Gate]:
        """Every method at the right layer; CDAS at a later one too."""
        model, task = load_model("cdas_mini"), TwoLexicons()
        methods: dict[str, tuple[Method, int, str]] = {
            "CDAS": (method("cdas", rank=1), LAYER, ">= 1.8"),
            "DAS": (method("das", rank=1), LAYER, ""),
            "difference in means": (method("diff_means"), LAYER, ""),
            "random": (method("random_subspace", rank=1, seed=seed), LAYER, "== 0"),
            f"CDAS, layer {LAYER + 1}": (method("cdas", rank=1), LAYER + 1, ""),
        }
        gates: list[Gate] = []
        for name, (how, layer, bar) in methods.items():
            site = Site(layer, positions="all", source_positions="last")
            found = fitted(model, task, how, site, seed, batch=8, lr=0.04, metrics=METRICS)
            if not gates:
                gates.append(Gate("model: accuracy", found.metrics["model/accuracy"], ">= 0.999"))
            gates += _steered(name, model, found, task, seed, bar)
            told = f"{name}: KL to the source's run at the first word, changed pairs"
            gates.append(Gate(told, found.metrics["fidelity_changed"]))
        return gates


def _steered(name: str, model: nn.Module, found: Fit, task: TwoLexicons, seed: int, bar: str) -> list[Gate]:
    """Scores (0 to 2) at the factor of one, and at the chosen one, which comes beside them."""
    contrasts, gates = task.contrasts("test", PROMPTS, seed), []
    for what, sign, prompts in (
        ("elicitation", 1.0, [c.negative for c in contrasts]), ("removal", -1.0, [c.positive for c in contrasts]),
    ):  # fmt: skip
        judged = judge_steering(
            model, found.subspace, prompts, GRAND, _judge(prompts), [sign * m for m in MULTIPLES], suppress=sign < 0,
            max_new_tokens=LENGTH, positions="all",
        )  # fmt: skip
        unit = [s.suppressed if sign < 0 else s.overall for s in judged.scores[sign]]
        chosen = judged.selected
        gates += [
            Gate(f"{name}: {what}, unit factor", sum(unit) / len(unit), "== 0" if bar == "== 0" else ""),
            Gate(f"{name}: {what}, tuned", chosen.score, bar if sign > 0 or bar == "== 0" else ""),
            Gate(f"{name}: {what}, the factor chosen", chosen.factor),
        ]
    return gates


def _judge(prompts: list[Prompt]) -> Oracle:
    return Oracle(LEXICONS, contents_of(prompts), tuple(OPENERS.values()))


BENCH = CDASMini()
