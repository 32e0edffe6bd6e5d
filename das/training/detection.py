"""Concept detection as AxBench has it (arXiv 2501.17148): does a direction's largest activation say that a text has it?

Every row is an instruction with its response; a token's score is h.w, a row's the largest of its tokens, those of the
shared prefix (BOS, chat header) left out. `difference_in_means` fits w on tokens, `bag_of_words` is the reference that
sees words only: logistic regression on their counts. `das.metrics.detection` makes numbers of the scores.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from das.batch import Positions, TokenBatch
from das.data.collate import pad
from das.engine.read import read
from das.estimators.logistic import fit_probe
from das.metrics.detection import detection, max_over_tokens
from das.tasks.axbench import CATEGORIES, Answer, ConceptRows
from das.training.problem import Problem
from das.types import Site


def detect(scores: Float[Tensor, " row"], rows: ConceptRows) -> dict[str, float]:
    """The numbers of `das.metrics.detection` for scores of all rows, in their order."""
    said = [answer.category for answer in rows.answers]
    masks = (torch.tensor([one == category for one in said]) for category in CATEGORIES)
    return detection(*(scores[mask] for mask in masks))


@torch.no_grad()
def direction_scores(
    problem: Problem, site: Site, direction: Float[Tensor, " width"], rows: Sequence[Answer], longest: int | None = None
) -> Float[Tensor, " row"]:
    """max over tokens of h.w; positions of the site do not matter.

    Args:
        problem: the unmodified model.
        site: layer and component that w was fitted at.
        direction: w.
        rows: what to score.
        longest: tokens that are read of each row; all by default.

    Raises:
        ContextLengthError: a row does not fit the model, and `longest` does not cut it.
    """
    w = direction.float().to(problem.device)
    found = [max_over_tokens(h.float() @ w, real) for h, real in _activations(problem, site, rows, longest)]
    return torch.cat(found).cpu()


@torch.no_grad()
def difference_in_means(
    problem: Problem, site: Site, rows: ConceptRows, longest: int | None = None
) -> Float[Tensor, " width"]:
    """Mean activation over all tokens of positives, minus that of negatives."""
    means = []
    for chosen in (rows.of("positive"), rows.of("negative")):
        read_off = [h[real].double().cpu() for h, real in _activations(problem, site, chosen, longest)]
        means.append(torch.cat(read_off).mean(0))
    return (means[0] - means[1]).float()


def bag_of_words(train: ConceptRows, test: Sequence[Answer], l2: float = 1.0) -> Float[Tensor, " row"]:
    """Log odds of the concept from counts of the words that positives and negatives of `train` have."""
    known = [answer for answer in train.answers if answer.category != "hard negative"]
    counts = [_words(answer) for answer in known]
    words = sorted(set().union(*counts))
    positive = torch.tensor([answer.category == "positive" for answer in known])
    probe = fit_probe(_table(counts, words), positive, l2=l2)
    return (_table([_words(answer) for answer in test], words) @ probe.weight + probe.bias).float()


def _words(answer: Answer) -> Counter[str]:
    return Counter(re.findall(r"\w+", f"{answer.prompt.text} {answer.response}".lower()))


def _table(counts: Sequence[Mapping[str, int]], words: Sequence[str]) -> Float[Tensor, "row word"]:
    return torch.tensor([[float(count.get(word, 0)) for word in words] for count in counts], dtype=torch.float64)


def _activations(
    problem: Problem, site: Site, rows: Sequence[Answer], longest: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Activations (rows, tokens, width) of the tokens behind the prefix, and which of them are real, batch by batch."""
    bound, encoder = problem.view.bind(site), problem.encoder
    for start in range(0, len(rows), problem.data.batch_size):
        chunk = rows[start : start + problem.data.batch_size]
        encoded = list(encoder.encode_all([answer.prompt for answer in chunk]))
        responses = [encoder.response_ids(answer.response) for answer in chunk]
        if longest is None:
            for prompt, response in zip(encoded, responses, strict=True):
                encoder.check_length(prompt, len(response))
        whole = [[*e.ids, *r][:longest] for e, r in zip(encoded, responses, strict=True)]
        ids, mask = pad(whole, encoder.pad_id, "right")
        columns, real = pad([list(range(e.prefix, len(w))) for e, w in zip(encoded, whole, strict=True)], 0)
        where = Positions(columns, real).to(problem.device)
        [h] = read(problem.view, TokenBatch(ids, mask).to(problem.device), [(bound, where)])
        yield h, where.mask
