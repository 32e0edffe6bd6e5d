"""The rotation at width 4096, rank 16: forward, backward, back to the manifold, against torch's parametrization."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from das.context import Context
from das.featurizers.rotation import Rotation
from scripts.benchmarks.harness import Result, compare, same

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

    inputs = h.clone().requires_grad_()
    losses = [
        (theirs(inputs) - goal).square().mean(),
        (mine.frame(Context()).coordinates(inputs) - goal).square().mean(),
    ]
    gradients = [torch.autograd.grad(loss, inputs)[0] for loss in losses]
    errors = same((losses[0].detach(), losses[1].detach()), (gradients[0], gradients[1]))
    return compare(lambda: step(0), lambda: step(1), **errors)
