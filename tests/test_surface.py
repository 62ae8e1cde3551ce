"""The loss at many thetas against `loss_and_gradient` at each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.errors import InvalidValueError
from downslope.parts import Network
from downslope.surface import RowSet, Surface
from test_gradients import Case, draw

Array = npt.NDArray[Any]


def losses_naively(case: Case, thetas: Array) -> Array:
    kept = case.built.theta.copy()
    losses = []
    for theta in thetas:
        case.built.theta[:] = theta
        losses.append(case.loss_and_gradient()[0])
    case.built.theta[:] = kept
    return np.array(losses)


def rows_of(case: Case) -> RowSet:
    return RowSet(case.features, case.target, case.weights, case.penalties)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize("task", ["regression", "multiclass", "multilabel", "binary"])
def test_losses_at_many_points(task: str, normalize: str, threads: int) -> None:
    smoothing = 0.0 if task == "regression" else 0.1
    network = Network([6, 5], "silu", "glorot_normal", normalize, True, label_smoothing=smoothing)
    case = draw(network, 2, task, 150, 3)
    case.weights, case.penalties = np.linspace(0, 2, 150), (0.2, 0.7)
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(2, case.built.theta.size))
    places = generator.normal(size=(7, 2))
    before, statistics = case.built.theta.copy(), case.built.statistics.copy()
    with Surface(case.built, rows_of(case), threads) as surface:
        found = surface.along(before, directions, places)
        assert surface.at(before) == pytest.approx(case.loss_and_gradient()[0], rel=1e-12)
    np.testing.assert_allclose(
        found, losses_naively(case, before + places @ directions), rtol=1e-12
    )
    np.testing.assert_array_equal(case.built.theta, before)
    np.testing.assert_array_equal(case.built.statistics, statistics)


def test_the_losses_do_not_hang_on_the_threads() -> None:
    case = draw(Network([20, 20], "relu"), 3, "multiclass", 500, 0)
    places = np.linspace(-1, 1, 23)[:, None]
    direction = np.random.default_rng(1).normal(size=(1, case.built.theta.size))
    found = []
    for threads in (1, 2):
        with Surface(case.built, rows_of(case), threads) as surface:
            found.append(surface.along(case.built.theta, direction, places))
    np.testing.assert_array_equal(found[0], found[1])


def test_nothing_is_dropped_out() -> None:
    for normalize in ("none", "batch"):
        losses = []
        for dropout in (0.0, 0.5):
            network = Network([8], "tanh", "glorot_normal", normalize, dropout=dropout)
            case = draw(network, 2, "multiclass", 30, 0)
            with Surface(case.built, rows_of(case)) as surface:
                losses.append(surface.at(case.built.theta))
        assert losses[0] == losses[1]


def test_batch_normalization_takes_the_rows_statistics() -> None:
    case = draw(Network([8], "tanh", "glorot_normal", "batch"), 2, "multiclass", 30, 0)
    with Surface(case.built, rows_of(case)) as surface:
        before = surface.at(case.built.theta)
        case.built.statistics[:] = 7.0
        assert surface.at(case.built.theta) == before


def test_a_loss_that_is_not_finite_is_no_error() -> None:
    case = draw(Network([4], "relu"), 2, "regression", 9, 0)
    size = case.built.theta.size
    with Surface(case.built, rows_of(case)) as surface:
        found = surface.along(np.zeros(size), np.ones((1, size)), [[0.0], [1e300], [1.0]])
    assert np.isfinite(found).tolist() == [True, False, True]


def test_drawn_rows_keep_the_weight_of_the_penalties() -> None:
    case = draw(Network([4], "tanh"), 2, "multiclass", 400, 0)
    size = case.built.theta.size
    case.built.theta[:] = 0.01
    for weights in (None, np.linspace(0.5, 1.5, 400)):
        whole = RowSet(case.features, case.target, weights, (0.0, 4e7))
        some = whole.draw(100, seed=0)
        assert len(some) == 100
        assert whole.draw(400, 0) is whole
        losses = []
        for rows in (whole, some):
            with Surface(case.built, rows) as surface:
                losses.append(surface.at(np.full(size, 0.01)))
        # the penalty is 4e7 0.5e-4 x weights / 400, the rest some 1 nat
        assert losses[0] > 50
        assert losses[1] == pytest.approx(losses[0], rel=0.02)
    drawn = {tuple(row) for row in np.asarray(some.gather().features)}
    assert len(drawn) == 100
    assert drawn <= {tuple(row) for row in case.features}
    assert {tuple(row) for row in np.asarray(whole.draw(100, seed=1).gather().features)} != drawn


def test_bad_input() -> None:
    case = draw(Network([4], "tanh"), 2, "multiclass", 9, 0)
    size = case.built.theta.size
    with pytest.raises(InvalidValueError, match="got 9 rows of features and 8 targets"):
        RowSet(case.features, case.target[:8])
    with pytest.raises(InvalidValueError, match="got 0 rows of features and 0 targets"):
        RowSet(case.features[:0], case.target[:0])
    with pytest.raises(InvalidValueError, match="features must have 3 columns"):
        Surface(case.built, RowSet(case.features[:, :2], case.target))
    with Surface(case.built, rows_of(case)) as surface:
        with pytest.raises(InvalidValueError, match=f"must have {size} numbers each"):
            surface.at(np.zeros(size - 1))
        with pytest.raises(InvalidValueError, match=f"must have {size} numbers each"):
            surface.along(np.zeros(size), np.zeros((1, 3)), [[0.0]])
        with pytest.raises(InvalidValueError, match="a number for each of 1 directions"):
            surface.along(np.zeros(size), np.zeros((1, size)), [[0.0, 1.0]])
        for bad in (np.nan, np.inf):
            with pytest.raises(InvalidValueError, match="places must be finite"):
                surface.along(np.zeros(size), np.zeros((1, size)), [[bad]])
            with pytest.raises(InvalidValueError, match="origin must be finite"):
                surface.at(np.full(size, bad))
