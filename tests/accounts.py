"""Accounts of runs for tests of pictures and pages: with a trace made up by rule."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from downslope import Descent, Network, Recipe, datasets, descend
from downslope.account import Account
from downslope.trace import Trace

STEPS = np.array([*range(1, 11), *range(51, 2002, 50)])


def make_trace(layers: int, factor: float = 1.0, steps: Any = STEPS, fails: bool = False) -> Trace:
    """Make a trace of so many layers whose dL/dW shrinks by `factor` from one to the one before.

    Three quarters of it, on the log scale, are by phi', one by the weights. With `fails` the last
    step's values are NaN.
    """
    rng = np.random.default_rng(0)
    step, layer = (each.ravel() for each in np.meshgrid(steps, np.arange(1, layers + 1)))
    noise = rng.uniform(0.9, 1.1, len(step))
    part = np.log(factor)
    columns = {
        name: rng.uniform(0.2, 0.8, len(step))
        for name in (
            "x_mean",
            "x_std",
            "z_mean",
            "z_std",
            "y_mean",
            "y_std",
            "dy_rms",
            "x_rms",
            "w_norm",
        )
    }
    frame = pl.DataFrame(
        {
            "step": step,
            "layer": layer,
            **columns,
            "dead": np.where(layer == 1, 0.25, 0.0),
            "flat": np.full(len(step), 0.5),
            "dw_rms": 0.1 * factor ** (layers - layer.astype(float)) * noise,
            "shrink_weights": np.where(layer == 1, np.nan, part / 4),
            "shrink_slope": np.where(layer == layers, 0.0, 3 * part / 4),
            "update_ratio": 1e-3 * noise,
        }
    ).sort("step", "layer")
    by_step = pl.DataFrame(
        {
            "step": steps,
            "epoch": 1 + (steps - 1) // 100,
            "loss": 1 / np.sqrt(steps),
            "learning_rate": np.full(len(steps), 1e-3),
            "rows": np.where(steps % 5 == 0, 7, 32),
            "gradient_norm": np.linspace(3, 0.5, len(steps)),
            "clipped_norm": np.minimum(1.0, np.linspace(3, 0.5, len(steps))),
            "noise_scale": 20 * rng.lognormal(0, 1, len(steps)),
            "suggested_batch": np.full(len(steps), 20.0),
        }
    )
    if fails:
        last = pl.col("step") == steps[-1]
        frame, by_step = (
            each.with_columns(
                pl.when(last).then(float("nan")).otherwise(pl.col(name)).alias(name)
                for name in each.columns
                if name not in ("step", "layer", "epoch", "rows")
            )
            for each in (frame, by_step)
        )
    edges = np.linspace(-3, 3, 13)
    bins = [
        {"step": int(at), "layer": number, "quantity": quantity, "low": low, "high": high,
         "count": int(100 * np.exp(-((low + high) ** 2)) + 1)}
        for at in steps[:: max(1, len(steps) // 6)]
        for number in range(1, layers + 1)
        for quantity, places in (("z", edges), ("gradient", 10.0**edges))
        for low, high in pairwise(places)
    ]  # fmt: skip
    dead = [{"step": step, "layer": number, "dead": 0.125 if number == 1 else 0.0}
            for step in (100, 2001) for number in range(1, layers + 1)]  # fmt: skip
    frames = {"steps": by_step, "layers": frame, "histograms": pl.DataFrame(bins),
              "dead_units": pl.DataFrame(dead), "curvature": pl.DataFrame()}  # fmt: skip
    return Trace(frames)


def trace_of(account: Account) -> Trace:
    """Give the trace of an account that has one."""
    assert account.trace is not None
    return account.trace


def with_trace(account: Account, *arguments: Any, **options: Any) -> Account:
    """Give an account with a trace of `make_trace`."""
    return replace(account, trace=make_trace(*arguments, **options))


def changed(trace: Trace, name: str, **columns: Any) -> Trace:
    """Give a trace with other columns in one of its frames."""
    return Trace({**trace.frames, name: trace.frames[name].with_columns(**columns)})


def account_of(data: str, name: str = "", trace: Any = None, **changes: Any) -> Account:
    """Train a small network on a built-in data set; give its account, with a trace or its "own"."""
    recipe = Recipe(Network([8, 8]), Descent(epochs=12)).edit(**changes)
    run = descend(recipe, datasets.load(data))
    account = run.account(name or data)
    return account if trace == "own" else replace(account, trace=trace)
