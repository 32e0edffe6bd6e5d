"""ReFT-r1: one direction that both detects and steers a concept (AxBench, arXiv 2501.17148).

Equation   training   h'_t = h_t + a v,  a = mean of the top `k` of relu(v.h_t) over the sequence;  |v| = 1
           steering   h'_t = h_t + f a_max v,  a_max the largest relu(v.h_t) seen on training prompts ("add_max")
           detection  max_t relu(v.h_t)
Trained by `lm_loss` on responses, plus `weight` * progress * mean of the other latents; the gradient along v is removed
Shapes     h (B, P, width), v (width,)
"""

from __future__ import annotations

from das.edits.add import Add
from das.edits.clamp import Clamp
from das.edits.mean_top_k import MeanTopK
from das.edits.zero import Zero
from das.featurizers.direction import Direction
from das.interventions.base import Intervention


def reft_r1(width: int, k: int = 8, weight: float = 0.005) -> Intervention:
    """Adds what it detects."""
    steering = {"add_max": Add(1, unit="maximum"), "add": Add(1), "clamp": Clamp(1), "ablate": Zero()}
    return Intervention(Direction(width), MeanTopK(k, weight), steering=steering, trained_by="lm_loss", name="reft_r1")


METHOD = reft_r1
