"""Lines and planes against losses taken point by point; a path's plane against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.decomposition import PCA

from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.landscape import filter_normalized, line, path_plane, plane, principal_plane
from downslope.network import BuiltNetwork
from downslope.parts import Network
from downslope.surface import RowSet
from test_gradients import Case, draw
from test_surface import losses_naively, rows_of

Array = npt.NDArray[Any]


def case_of(seed: int = 0, **settings: Any) -> Case:
    return draw(Network([5, 4], "tanh", "glorot_normal", **settings), 2, "multiclass", 40, seed)


@pytest.mark.parametrize("normalize", ["none", "batch"])
def test_a_line_from_one_network_to_another(normalize: str) -> None:
    first, second = case_of(0, normalize=normalize), case_of(1, normalize=normalize)
    found = line(first.built, second.built, rows_of(first), points=7, reach=(-0.5, 1.5))
    a = np.array([-0.5, -1 / 6, 1 / 6, 0.5, 5 / 6, 7 / 6, 1.5])
    np.testing.assert_allclose(found.places, a)
    thetas = (1 - a[:, None]) * first.built.theta + a[:, None] * second.built.theta
    np.testing.assert_allclose(found.losses, losses_naively(first, thetas), rtol=1e-12)
    ends = losses_naively(first, np.array([first.built.theta, second.built.theta]))
    above = found.losses[2:5] - ((1 - a[2:5]) * ends[0] + a[2:5] * ends[1])
    assert found.barrier == pytest.approx(max(0.0, above.max()))
    assert (found.rows, found.of_rows) == (40, 40)


def test_networks_alike_but_for_the_order_of_their_units_have_a_barrier() -> None:
    first, second = case_of(), case_of()
    first.target = (first.features[:, 0] * first.features[:, 1] > 0).astype(np.int64)
    for _step in range(500):
        first.built.theta[:] -= 0.5 * first.loss_and_gradient()[1]
    second.built.theta[:] = first.built.theta
    for name, axis in (("layer1.weight", 1), ("layer1.bias", 0), ("layer2.weight", 0)):
        part = second.built.parts()[name]
        part[...] = np.flip(part, axis)
    rows = rows_of(first)
    np.testing.assert_allclose(
        second.built.output(first.features), first.built.output(first.features), atol=1e-12
    )
    assert line(first.built, second.built, rows).barrier > 0.1
    assert line(first.built, first.built, rows).barrier == pytest.approx(0.0, abs=1e-12)


def test_a_plane_along_random_directions() -> None:
    case = case_of()
    found = plane(case.built, rows_of(case), points=5, reach=0.8, seed=4)
    np.testing.assert_allclose(found.x, [-0.8, -0.4, 0, 0.4, 0.8], atol=1e-15)
    np.testing.assert_array_equal(found.x, found.y)
    for j, b in enumerate(found.y):
        thetas = case.built.theta + found.x[:, None] * found.directions[0] + b * found.directions[1]
        np.testing.assert_allclose(found.losses[j], losses_naively(case, thetas), rtol=1e-12)
    assert found.losses[2, 2] == pytest.approx(case.loss_and_gradient()[0], rel=1e-12)
    assert found.path.shape == (0, 2)
    again = plane(case.built, rows_of(case), points=5, reach=0.8, seed=4, threads=1)
    np.testing.assert_array_equal(found.losses, again.losses)
    other = plane(case.built, rows_of(case), points=5, reach=0.8, seed=5)
    assert (other.losses != found.losses).any()


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
def test_every_filter_of_a_direction_is_as_long_as_thetas(normalize: str) -> None:
    network = Network([6, 5], "prelu", "he_normal", normalize, residual=True)
    built = draw(network, 3, "multiclass", 5, 0).built
    direction, other = (filter_normalized(built, np.random.default_rng(k)) for k in (8, 9))
    assert abs(direction @ other) < 0.5 * float(direction @ direction)
    assert abs(direction @ built.theta) < 0.5 * float(direction @ direction)
    for part in built.layout.parts:
        d, w = (
            each[part.start : part.stop].reshape(part.shape) for each in (direction, built.theta)
        )
        if w.ndim == 1:
            assert not d.any()
            continue
        for column, filter_ in zip(d.T, w.T, strict=True):
            assert np.sqrt(sum(column**2)) == pytest.approx(np.sqrt(sum(filter_**2)))


def test_scaling_the_units_of_a_relu_network_changes_no_picture() -> None:
    """What filter normalization is for: W1 times 10 and W2 over 10 is the same network."""
    losses: list[Array] = []
    for factor in (1.0, 10.0):
        case = draw(Network([6], "relu", "he_normal"), 2, "multiclass", 30, 0)
        parts = case.built.parts()
        parts["layer1.weight"] *= factor
        parts["layer1.bias"] *= factor
        parts["layer2.weight"] /= factor
        losses.append(plane(case.built, rows_of(case), points=5).losses)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)


def path_of(case: Case, count: int = 9) -> list[Array]:
    """Walk: a bent path that ends at theta, with some noise beside its two main directions."""
    generator = np.random.default_rng(2)
    ahead, aside = generator.normal(size=(2, case.built.theta.size))
    away = np.linspace(1, 0, count)
    return [
        case.built.theta + t * ahead + t * (1 - t) * aside
        + 0.02 * t * generator.normal(size=ahead.size)
        for t in away
    ]  # fmt: skip


def test_the_plane_of_a_path_is_that_of_its_principal_components() -> None:
    case = case_of()
    thetas = path_of(case)
    found = path_plane(case.built, thetas, rows_of(case), points=4)
    pca = PCA(2).fit(np.array(thetas))
    np.testing.assert_allclose(found.explained, pca.explained_variance_ratio_, rtol=1e-8)
    assert 0.99 < found.explained.sum() < 1
    for mine, theirs in zip(found.directions, pca.components_, strict=True):
        assert abs(mine @ theirs) == pytest.approx(1.0)
    np.testing.assert_allclose(
        found.path, [found.directions @ (theta - case.built.theta) for theta in thetas], atol=1e-12
    )
    np.testing.assert_allclose(found.path[-1], 0, atol=1e-12)
    assert (found.path[0] <= 0).all()
    np.testing.assert_allclose(
        found.path_losses, losses_naively(case, np.array(thetas)), rtol=1e-12
    )
    # The plane holds the whole path, and its losses are those of the points it names.
    for axis, places in enumerate((found.x, found.y)):
        assert places[0] < found.path[:, axis].min()
        assert places[-1] > found.path[:, axis].max()
    for i, j in ((0, 3), (2, 1)):
        theta = case.built.theta + np.array([found.x[i], found.y[j]]) @ found.directions
        expected = losses_naively(case, theta[None])[0]
        assert found.losses[j, i] == pytest.approx(expected, rel=1e-12)


def test_where_all_rows_would_take_too_long_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downslope.landscape.FEWEST_ROWS", 10)
    monkeypatch.setattr("downslope.landscape.WORK", 1.0)
    first, second = case_of(0), case_of(1)
    for found in (
        line(first.built, second.built, rows_of(first)),
        plane(first.built, rows_of(first), points=3),
        path_plane(first.built, path_of(first), rows_of(first), points=3),
    ):
        assert (found.rows, found.of_rows) == (10, 40)


def test_other_layers_have_no_line_between_them() -> None:
    case = case_of()
    for network, says in (
        (Network([5, 5], "tanh"), "BuiltNetwork"),
        (Network([5, 4], "relu"), "differ in activation"),
        (Network([5, 4], "tanh", loss="squared_error"), "losses cross_entropy and squared_error"),
        (Network([5, 4], "tanh", normalize="layer"), "BuiltNetwork"),
    ):
        other = BuiltNetwork(network, 3, 2, "multiclass", "float64")
        if "losses" in says:
            other = BuiltNetwork(
                Network([5, 4], "tanh", loss="squared_error", output_activation="softmax"),
                3, 2, "multiclass", "float64",
            )  # fmt: skip
        with pytest.raises(InvalidValueError, match=says):
            line(case.built, other, rows_of(case))
    assert case.built.theta.any()


def test_bad_input() -> None:
    case, other = case_of(0), case_of(1)
    rows, thetas = rows_of(case), path_of(case)
    for bad in (0, 2, -1):
        with pytest.raises(InvalidValueError, match=f"points must be at least 3; got {bad}"):
            plane(case.built, rows, points=bad)
    with pytest.raises(InvalidTypeError, match=r"points takes a whole number; got 5\.5"):
        line(case.built, other.built, rows, points=5.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="a landscape: seed must be at least 0; got -1"):
        plane(case.built, rows, seed=-1)
    for reach in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(InvalidValueError, match="reach must go from a finite number"):
            plane(case.built, rows, reach=reach)
    with pytest.raises(InvalidValueError, match="got 1 to 0"):
        line(case.built, other.built, rows, reach=(1, 0))
    with pytest.raises(InvalidValueError, match="features must have 3 columns"):
        plane(case.built, RowSet(case.features[:, :1], case.target))
    with pytest.raises(InvalidValueError, match="at least 3 thetas; got 2"):
        path_plane(case.built, thetas[:2], rows)
    with pytest.raises(InvalidValueError, match=r"theta 1 is of shape \(3,\)"):
        path_plane(case.built, [thetas[0], thetas[1][:3], thetas[2]], rows)
    with pytest.raises(InvalidValueError, match="not finite"):
        path_plane(case.built, [thetas[0], thetas[1] * np.nan, thetas[2]], rows)
    straight = [case.built.theta + t * thetas[0] for t in (2.0, 1.0, 0.5, 0.0)]
    with pytest.raises(InvalidValueError, match="must not lie on one line"):
        principal_plane(case.built.theta, straight)
    with pytest.raises(InvalidValueError, match="must not lie on one line"):
        principal_plane(case.built.theta, [case.built.theta] * 4)
    case.built.theta[3] = np.inf
    for take in (
        lambda: plane(case.built, rows),
        lambda: line(other.built, case.built, rows),
        lambda: path_plane(case.built, thetas, rows),
    ):
        with pytest.raises(InvalidValueError, match="theta must be finite; 1 of 54 values"):
            take()
