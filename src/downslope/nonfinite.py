"""Where the first value that is not finite arose: step, layer, and factor of the chain rule."""

from __future__ import annotations

import math

import numpy as np

from downslope.kernels.blocks import PENALTY
from downslope.kernels.loop import Job


def first_non_finite(job: Job, loss: float) -> str:
    """Name the first value of a step that is not finite, in the order of computing.

    Parameters
    ----------
    job
        Of the stepper that has just run this step, recorded: its gauges hold the step's sums.
    loss
        Of the step.
    """
    sums, layers = job.gauges.rows, len(job.plan)

    def bad(name: str, layer: int) -> bool:
        return not np.isfinite(sums[name][:, layer]).all()

    if bad("x_mean", 0):
        return "the features"
    for number, layer in enumerate(job.plan):
        if bad("z_mean", number):
            shown = "x W + b, normalized," if layer["normalization"] else "x W + b"
            return f"{shown} of layer {number + 1}, forward pass"
        if bad("y_mean", number) and (number < layers - 1 or not job.frame[0]["fused"]):
            return f"y = phi(z) of layer {number + 1}, forward pass"
    if not np.isfinite(job.sums[PENALTY]).all():
        return "the penalty on the weights, whose squares are too large"
    if not math.isfinite(loss):
        return "the loss"
    for number in reversed(range(layers)):
        if number < layers - 1 and bad("dy", number):
            factors = f"dL/dz of layer {number + 2} times W"
            return f"dL/dy of layer {number + 1} ({factors}), backward pass"
        if bad("dz", number):
            factors = "the loss's derivative" if number == layers - 1 else "dL/dy times dy/dz"
            return f"dL/dz of layer {number + 1} ({factors}), backward pass"
    for part, found in zip(job.pieces, job.gauges.pieces, strict=True):
        if not np.isfinite(found["gradient"]):
            return f"dL/dw of layer {part['layer'] + 1} (dL/dz times dz/dw), backward pass"
    for part in job.pieces:
        if not np.isfinite(job.theta[part["start"] : part["stop"]]).all():
            return (
                f"theta of layer {part['layer'] + 1}: the gradient is finite, the rule's step not"
            )
    return "theta"
