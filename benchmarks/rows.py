"""What is measured: nine networks with their batches, under Adam and under plain SGD."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

NETWORKS: Final[tuple[tuple[tuple[int, ...], int], ...]] = (
    ((2, 8, 8, 2), 1),
    ((2, 8, 8, 2), 32),
    ((20, 64, 64, 2), 1),
    ((20, 64, 64, 2), 32),
    ((64, 100, 10), 200),
    ((784, 128, 10), 1),
    ((784, 128, 10), 32),
    ((784, 256, 128, 10), 128),
    ((784, 1024, 1024, 10), 256),
)
"""Widths from features to classes, and rows of a batch."""

RULES: Final = ("adam", "sgd")
LEARNING_RATES: Final = {"adam": 1e-3, "sgd": 1e-2}

LEAST_ROWS: Final = 2000
"""About the rows of scikit-learn's digits; the largest network then has 8 steps an epoch."""


@dataclass(frozen=True)
class Row:
    """One row of the tables: a network, a batch and a rule."""

    widths: tuple[int, ...]
    batch: int
    rule: str

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.widths))} b{self.batch} {self.rule}"

    @property
    def hidden(self) -> tuple[int, ...]:
        return self.widths[1:-1]

    @property
    def learning_rate(self) -> float:
        return LEARNING_RATES[self.rule]

    @property
    def steps(self) -> int:
        """Steps of an epoch; the last batch is as full as the others."""
        return -(-LEAST_ROWS // self.batch)

    @property
    def rows(self) -> int:
        return self.steps * self.batch

    @property
    def layers(self) -> Iterator[tuple[int, int]]:
        """Inputs and outputs of each layer, first to last."""
        return pairwise(self.widths)

    @property
    def parameters(self) -> int:
        return sum((inputs + 1) * outputs for inputs, outputs in self.layers)

    @property
    def products(self) -> int:
        """Floating-point operations of a step's products.

        x W and x^T d of each layer, and d W^T of all but the first: 2 m n k each.
        """
        sizes = [2 * self.batch * inputs * outputs for inputs, outputs in self.layers]
        return 3 * sum(sizes) - sizes[0]

    @property
    def streams(self) -> tuple[int, int]:
        """Vectors as long as theta that the rule reads (theta, m, v, g) and writes back."""
        return (4, 3) if self.rule == "adam" else (2, 1)

    def data(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Random features and labels: the speed of a step does not depend on what is learned."""
        generator = np.random.default_rng(0)
        features = generator.standard_normal((self.rows, self.widths[0]), dtype=np.float32)
        return features, generator.integers(0, self.widths[-1], self.rows)

    def weights(self) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """W (inputs x outputs, He normal) and b (zeros) of each layer, float32."""
        generator = np.random.default_rng(1)
        return [
            (
                generator.standard_normal((inputs, outputs), dtype=np.float32)
                * np.float32(np.sqrt(2 / inputs)),
                np.zeros(outputs, np.float32),
            )
            for inputs, outputs in self.layers
        ]


ROWS: Final = tuple(Row(widths, batch, rule) for rule in RULES for widths, batch in NETWORKS)
