"""The steps since the last kept state, run again: the same bits, whatever came meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.batches import Batches, Order
from downslope.course import Course
from downslope.data import Data
from downslope.errors import NonFiniteError
from downslope.network import BuiltNetwork
from downslope.parts import Descent, Network
from downslope.stepper import Targets
from downslope.stretch import Stretch, is_finite

DESCENT = Descent(
    batch=10, rule="momentum", learning_rate=0.05, schedule="constant", epochs=400, validation=0.0
)


def course(order: Order | None = None) -> Course:
    """Set up a descent that diverges."""
    features = np.random.default_rng(0).normal(size=(103, 4)).astype(np.float32)
    built = BuiltNetwork(Network([4], "identity", "lecun_normal"), 4, 2, "regression")
    targets = Targets.of(3 * features[:, :2], None, 2, np.float32)
    rows = np.arange(103)
    return Course(built, Data(features, targets, rows, rows[:0]), DESCENT, 1, order=order)


def failed(running: Course) -> tuple[str, npt.NDArray[Any], npt.NDArray[Any]]:
    with pytest.raises(NonFiniteError) as failure:
        running.run()
    return str(failure.value), running.network.theta, running.state


@pytest.mark.parametrize("keeps", [True, False], ids=["often", "never"])
def test_given_orders_come_again_as_shuffled_ones_do(
    keeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state before the failure is reached from the last kept one or from the beginning."""
    if not keeps:
        keep = Stretch.keep
        monkeypatch.setattr(Stretch, "keep", lambda self, steps: steps or keep(self, 0))
    batches = Batches(np.arange(103), DESCENT)
    asked: list[int] = []

    def order(epoch: int) -> npt.NDArray[np.int64]:
        asked.append(epoch)
        return batches.arrange(epoch)

    found, expected = failed(course(order)), failed(course())
    assert found[0] == expected[0]
    assert asked == list(range(len(asked)))
    assert len(asked) > 1
    for one, other in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_names_the_rate_of_the_step_that_failed() -> None:
    rising = DESCENT.__class__(**{**vars(DESCENT), "learning_rate": None, "schedule": rates})
    running = course()
    running = Course(running.network, running.data, rising, 1)
    with pytest.raises(NonFiniteError, match=r"in step (2[3-9]|3\d) .* \(now 2e\+30\)"):
        running.run()


def rates(step: int) -> float:
    """Stay small for two epochs, then become far too large."""
    return 1e-4 if step < 22 else 2e30


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_value_is_enough(bad: float) -> None:
    values = np.full(1000, 3e38, np.float32)
    assert is_finite(values)
    values[537] = bad
    assert not is_finite(values)
