"""How long compare() takes for 216 runs, and the same runs in a plain PyTorch loop.

3 batchings x 6 rules x 4 activations x 3 seeds, 30 epochs each, on the digits with hidden layers of
64 and 64 units. PyTorch would take many minutes, so a sample of its runs is timed: one for each
batching and rule, the activations in turn, and of those with many steps the first epochs only. An
epoch takes as long as any other, so a run counts as its epochs times theirs.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import time
from dataclasses import dataclass
from typing import Any, Final

BATCHES: Final = (1, 32, "full")
RULES: Final = ("gd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
ACTIVATIONS: Final = ("sigmoid", "relu", "tanh", "elu")
SEEDS: Final = 3
EPOCHS: Final = 30
HIDDEN: Final = (64, 64)

SAMPLED: Final = {1: 1, 32: 3, "full": 30}
"""By batch: the epochs of a run that PyTorch is timed for."""

RATIO_AIM: Final = 15.0
CORES_AIM: Final = 1.8
"""What the project set itself, against PyTorch and from one core to two."""


@dataclass(frozen=True)
class Comparisons:
    """Seconds for all runs, and what PyTorch's sample comes to."""

    runs: int
    cores: int
    seconds: float
    one_core: float
    torch_seconds: float
    sample: int

    def __str__(self) -> str:
        ratio, speedup = self.torch_seconds / self.seconds, self.one_core / self.seconds
        marks = ["reached" if ratio >= RATIO_AIM else "missed"]
        marks.append("reached" if speedup >= CORES_AIM else "missed")
        return (
            f"compare() of {self.runs} runs ({len(BATCHES)} batchings x {len(RULES)} rules x "
            f"{len(ACTIVATIONS)} activations x {SEEDS} seeds, {EPOCHS} epochs, digits, hidden 64 "
            f"and 64): {self.seconds:.1f} s on {self.cores} cores, preparation, scores, tests and "
            f"the noise scale included; a plain PyTorch loop in {self.cores} processes of one "
            f"thread {self.torch_seconds:,.0f} s, from {self.sample} of the runs, those with "
            f"batches 1 and 32 timed for {SAMPLED[1]} and {SAMPLED[32]} epochs: {ratio:.1f} x "
            f"(aimed at {RATIO_AIM:g}: {marks[0]}); on one core {self.one_core:.1f} s, so two are "
            f"{speedup:.2f} x one (aimed at {CORES_AIM:g}: {marks[1]})"
        )


def comparisons() -> Comparisons:
    """Measure compare() on all cores and on one, then the sample of PyTorch's runs."""
    runs = len(BATCHES) * len(RULES) * len(ACTIVATIONS) * SEEDS
    cores = len(os.sched_getaffinity(0))
    _compare(1, cores)  # loads the kernels
    turns = [(_compare(SEEDS, cores), _compare(SEEDS, 1)) for _ in range(2)]
    seconds, one_core = (min(each) for each in zip(*turns, strict=True))
    torch_seconds, sample = _torch(cores)
    return Comparisons(runs, cores, seconds, one_core, torch_seconds, sample)


def _compare(seeds: int, workers: int) -> float:
    """Time all runs; for one seed only a few, to load what is loaded once."""
    from downslope import Descent, Network, Recipe, compare, datasets

    recipe = Recipe(
        Network(HIDDEN), Descent(epochs=EPOCHS if seeds > 1 else 1, schedule="constant")
    )
    vary = {"batch": BATCHES, "rule": RULES, "activation": ACTIVATIONS}
    begun = time.perf_counter()
    found = compare(recipe, datasets.load("digits"), vary=vary, seeds=seeds, workers=workers)
    assert len(found.order) == len(found.variants)
    assert found.table.shape[0] == len(found.variants)
    found.differences("digits")
    return time.perf_counter() - begun


def _torch(cores: int) -> tuple[float, int]:
    """Time the sample in as many processes as there are cores; give all runs' seconds."""
    sample = [
        (batch, rule, ACTIVATIONS[number % len(ACTIVATIONS)])
        for number, (batch, rule) in enumerate(itertools.product(BATCHES, RULES))
    ]
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(_torch_run, [(1, "adam", "relu")] * cores, chunksize=1)  # imports
        found = pool.map(_torch_run, sample, chunksize=1)
    return sum(found) * len(ACTIVATIONS) * SEEDS / cores, len(sample)


def _torch_run(setting: tuple[Any, str, str]) -> float:
    """Give the seconds of one run: 30 epochs of the loop that one writes in PyTorch."""
    import torch
    from torch import nn

    from downslope import datasets

    batch, rule, activation = setting
    torch.set_num_threads(1)
    torch.manual_seed(0)
    digits = datasets.load("digits")
    features = torch.as_tensor(digits.features)
    features = (features - features.mean(0)) / features.std(0).clamp(min=1e-6)
    labels = torch.as_tensor(digits.target)
    held_out, training = torch.randperm(len(labels)).split([180, len(labels) - 180])
    x, target, x_held, target_held = (
        features[training], labels[training], features[held_out], labels[held_out],
    )  # fmt: skip
    middle = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU}[activation]
    network = nn.Sequential(
        nn.Linear(64, 64), middle(), nn.Linear(64, 64), middle(), nn.Linear(64, 10)
    )
    optimizer = _optimizer(torch.optim, rule, network)
    loss_of = nn.CrossEntropyLoss()
    size = len(x) if batch == "full" else batch
    epochs = SAMPLED[batch]
    begun = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(x))
        total = torch.zeros(())
        for first in range(0, len(x), size):
            rows = order[first : first + size]
            optimizer.zero_grad()
            loss = loss_of(network(x[rows]), target[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        with torch.no_grad():
            outputs = network(x_held)
            checked = loss_of(outputs, target_held).item()
            right = (outputs.argmax(1) == target_held).float().mean().item()
        assert math.isfinite(total.item() + checked + right)
    return (time.perf_counter() - begun) * EPOCHS / epochs


def _optimizer(optim: Any, rule: str, network: Any) -> Any:
    """Give PyTorch's optimizer for a rule, by its usual settings."""
    parameters = network.parameters()
    return {
        "gd": lambda: optim.SGD(parameters, lr=0.01),
        "momentum": lambda: optim.SGD(parameters, lr=0.01, momentum=0.9),
        "nesterov": lambda: optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True),
        "adagrad": lambda: optim.Adagrad(parameters, lr=0.01),
        "rmsprop": lambda: optim.RMSprop(parameters, lr=0.001),
        "adam": lambda: optim.Adam(parameters, lr=0.001),
    }[rule]()


if __name__ == "__main__":
    print(comparisons())
