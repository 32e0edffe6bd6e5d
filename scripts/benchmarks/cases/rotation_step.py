"""The rotation at width 4096, rank 16: forward, backward, back to the manifold, against torch's parametrization.

Equal: loss, and the weight's gradient along the manifold. The updates differ, as torch's optimiser moves coordinates of
its own; both stay on the manifold.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal

from das.context import Context
from das.featurizers.rotation import Rotation
from scripts.benchmarks.harness import Result, compare, same
from scripts.benchmarks.setting import tangent

BAR = ">= 200"
WIDTH, RANK, ROWS = 4096, 16, 32


def run() -> Result:
    """Assert equality, time."""
    torch.manual_seed(0)
    theirs = orthogonal(nn.Linear(WIDTH, RANK, bias=False))
    mine = Rotation(WIDTH, RANK, basis=theirs.weight.detach().T.clone())
    h, target = torch.randn(2, ROWS, 1, WIDTH)
    goal = target[..., :RANK]
    optimizers = [torch.optim.AdamW(x.parameters(), lr=1e-4, weight_decay=0) for x in (theirs, mine)]

    def step(side: int) -> torch.Tensor:
        optimizers[side].zero_grad(set_to_none=True)
        z = theirs(h) if side == 0 else mine.frame(Context()).coordinates(h)
        loss = (z - goal).square().mean()
        loss.backward()
        if side == 1:
            mine.project_gradient()
        optimizers[side].step()
        if side == 1:
            mine.retract()
        return loss.detach()

    with parametrize.cached():
        theirs.weight.retain_grad()
        wanted = (theirs(h) - goal).square().mean()
        wanted.backward()
        rotation, theirs_gradient = theirs.weight.detach().T, theirs.weight.grad.T
    loss = (mine.frame(Context()).coordinates(h) - goal).square().mean()
    [gradient] = torch.autograd.grad(loss, [mine.weight])
    gradients = tangent(rotation, theirs_gradient), tangent(rotation, gradient)
    errors = same((wanted.detach(), loss.detach()), gradients)
    result = compare(lambda: step(0), lambda: step(1), **errors)
    result.notes["orthonormality"] = max(mine.invariants().values())
    return result
