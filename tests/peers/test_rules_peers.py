"""PyTorch's update rules, schedules, and ours: the same gradients give the same theta."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.catalogue import choose
from downslope.kernels.muon import muon, muon_scratch
from downslope.kernels.rules import coefficients, moments, update
from downslope.schedules import Plateau, Span, rates

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.peers

Array = npt.NDArray[Any]

SAME: dict[str, tuple[str, dict[str, Any]]] = {
    "gd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adagrad": ("Adagrad", {}),
    "adadelta": ("Adadelta", {}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop(momentum=0.9)": ("RMSprop", {"momentum": 0.9}),
    "rmsprop(centered=1)": ("RMSprop", {"centered": True}),
    "rmsprop(momentum=0.9, centered=1)": ("RMSprop", {"momentum": 0.9, "centered": True}),
    "adam": ("Adam", {}),
    "adam(0.8, 0.9, 1e-3)": ("Adam", {"betas": (0.8, 0.9), "eps": 1e-3}),
    "amsgrad": ("Adam", {"amsgrad": True}),
    "adamax": ("Adamax", {}),
    "nadam": ("NAdam", {}),
    "radam": ("RAdam", {}),
    "adamw": ("AdamW", {}),
    "rprop": ("Rprop", {}),
}
"""By our rule: PyTorch's class and its settings. At a constant learning rate, where our form of
momentum (v in the units of theta) and PyTorch's (v in those of the gradient) are the same."""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", SAME)
def test_a_hundred_steps_are_pytorchs(rule: str, dtype: Any) -> None:
    name, settings = SAME[rule]
    generator = np.random.default_rng(11)
    theta = generator.normal(size=50).astype(dtype)
    gradients = generator.normal(size=(100, 50)).astype(dtype)
    parameter = torch.tensor(theta.copy(), requires_grad=True)
    optimizer = getattr(torch.optim, name)([parameter], lr=0.003, **settings)
    choice = choose("rule", rule)
    table = coefficients(choice, np.full(100, 0.003), 1)
    state = np.zeros((moments(choice), 50), dtype)
    for step, gradient in enumerate(gradients):
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        theta *= dtype(1 - 0.003 * choice.options.get("weight_decay", 0.0))
        update(choice.code, theta, gradient.copy(), state, 0, table[step])
        np.testing.assert_allclose(theta, parameter.detach().numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(24, 10), (10, 24), (16, 16)])
def test_muon_goes_pytorchs_way(shape: tuple[int, int]) -> None:
    # PyTorch runs Newton and Schulz's iteration in bfloat16, of 8 significant bits, and the
    # iteration does not settle, so what is lost stays: the directions agree to about a percent.
    # The exact comparison is with the naive twin in tests/test_rules.py.
    generator = np.random.default_rng(5)
    theta = np.zeros(shape)
    parameter = torch.zeros(shape[::-1], requires_grad=True)
    optimizer = torch.optim.Muon([parameter], lr=0.02, weight_decay=0.0)
    momentum, scratch = np.zeros(shape), np.empty(muon_scratch(*shape))
    for row in coefficients(choose("rule", "muon"), np.full(10, 0.02), 1):
        gradient = generator.normal(size=shape)
        parameter.grad = torch.tensor(gradient.T, dtype=torch.float32)
        optimizer.step()
        muon(theta, gradient, momentum, scratch, row)
    theirs = parameter.detach().numpy().T
    assert np.linalg.norm(theirs - theta) < 0.03 * np.linalg.norm(theta)


def torch_rates(scheduler: str, steps: int, **settings: Any) -> Array:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **settings)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(seen)


@pytest.mark.parametrize(
    ("ours", "scheduler", "settings"),
    [
        ("cosine", "CosineAnnealingLR", {"T_max": 60}),
        ("cosine(final=0.2)", "CosineAnnealingLR", {"T_max": 60, "eta_min": 0.02}),
        ("one_cycle", "OneCycleLR", {"max_lr": 0.1, "total_steps": 60}),
        (
            "one_cycle(0.5, 10, 100)",
            "OneCycleLR",
            {
                "max_lr": 0.1,
                "total_steps": 60,
                "pct_start": 0.5,
                "div_factor": 10,
                "final_div_factor": 100,
            },
        ),
        ("step(every=20, factor=0.5)", "StepLR", {"step_size": 20, "gamma": 0.5}),
        ("exponential(0.9)", "ExponentialLR", {"gamma": 0.9}),
    ],
)
def test_schedules_are_pytorchs(ours: str, scheduler: str, settings: dict[str, Any]) -> None:
    # PyTorch steps its epoch schedules once an epoch: here an epoch is one step.
    span = Span(steps_per_epoch=1, rows=1, total_steps=60)
    mine = rates(choose("schedule", ours), 0.1, 0, np.arange(60), span)
    np.testing.assert_allclose(mine, torch_rates(scheduler, 60, **settings), rtol=1e-9, atol=1e-12)


def test_plateau_is_pytorchs() -> None:
    generator = np.random.default_rng(3)
    losses = list(np.exp(-np.arange(80) / 20) + 0.05 * generator.normal(size=80) + 0.2)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=3, min_lr=1e-3
    )
    choice = choose("schedule", "plateau(factor=0.5, patience=3, low=1e-3)")
    seen, going_on = set(), Plateau(choice, 0.1)
    for epoch, loss in enumerate(losses):
        schedule.step(loss)
        expected = optimizer.param_groups[0]["lr"]
        assert going_on.rate(losses[: epoch + 1]) == pytest.approx(expected, rel=1e-12)
        seen.add(expected)
    assert len(seen) > 4
