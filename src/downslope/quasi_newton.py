"""L-BFGS over all rows, through SciPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.kernels.loop import Chunk
from downslope.kernels.normalize import MOMENTUM
from downslope.network import BuiltNetwork
from downslope.stepper import Stepper, Targets

Array = npt.NDArray[Any]


def minimize(
    network: BuiltNetwork,
    features: Array,
    targets: Targets,
    penalties: tuple[float, float],
    options: dict[str, Any],
    threads: int | None = None,
    watcher: Callable[[int, float], bool] | None = None,
) -> Any:
    """Move theta to where the loss over all rows is least, by L-BFGS.

    Parameters
    ----------
    network
        Its theta is moved in place.
    features : (rows, inputs) in theta's type, C-contiguous
    targets
    penalties
        l1 and l2, as in `BuiltNetwork.loss_and_gradient`.
    options
        Of SciPy's method "L-BFGS-B".
    threads
        None takes the available cores.
    watcher
        Called with the number of each iteration, from 1, and its loss; True ends the run.

    Returns
    -------
    scipy.optimize.OptimizeResult

    Notes
    -----
    Liu and Nocedal 1989. Running statistics of batch normalization become those of all rows.
    """
    from scipy.optimize import minimize as scipy_minimize

    rows, done = len(features), 0
    chunk = Chunk(
        order=np.arange(rows), in_order=1, first=0, batch=rows, steps=1, step=0, seed=0, rule=-1,
        coefficients=np.zeros((1, 1)), decays=np.ones(1),
        penalties=np.array([*penalties, 0.0, 0.0]), losses=np.zeros(1), norms=np.empty(0),
    )  # fmt: skip

    def watch(intermediate_result: Any) -> None:
        nonlocal done
        done += 1
        network.theta[:] = intermediate_result.x
        if watcher is not None and watcher(done, float(intermediate_result.fun)):
            raise StopIteration

    with Stepper(network.parameters, features, targets, rows, None, threads) as stepper:

        def loss_and_gradient(theta: Array) -> tuple[float, Array]:
            network.theta[:] = theta
            stepper.run(chunk)
            return float(chunk.losses[0]), stepper.gradient().astype(np.float64)

        start = network.theta.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            result = scipy_minimize(
                loss_and_gradient, start, method="L-BFGS-B", jac=True, options=options,
                callback=watch,
            )  # fmt: skip
        network.theta[:] = result.x
        if network.statistics.size:
            # From 0, one update of the running statistics leaves MOMENTUM times those of the rows.
            network.statistics[:] = 0
            stepper.run(chunk)
            network.statistics[:] /= network.theta.dtype.type(MOMENTUM)
    return result
