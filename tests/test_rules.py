from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from numba.core.dispatcher import Dispatcher

import naive
from downslope.catalogue import RULES, choose
from downslope.errors import InvalidValueError
from downslope.kernels import adam, rules
from downslope.kernels.muon import muon, muon_scratch
from downslope.kernels.rules import coefficients, moments, update

Array = npt.NDArray[Any]

VARIANTS = [
    *RULES,
    "rmsprop(momentum=0.9)",
    "rmsprop(centered=1)",
    "rmsprop(momentum=0.9, centered=1)",
    "adam(epsilon=0.1, uncorrected=1)",
    "nadam(beta1=0.99, decay=0.5)",
    "radam(beta2=0.6)",
    "rprop(0.4, 1.3, 1e-3, 0.02)",
]
DTYPES = [np.float32, np.float64]


def descend(
    rule: str, theta: Array, gradients: Array, rates: Array, cuts: tuple[int, ...] = ()
) -> Array:
    """Move theta (n,) by the gradients (steps, n), block by block; give theta after each step."""
    choice = choose("rule", rule)
    theta, table = theta.copy(), coefficients(choice, rates, first_step=1)
    state = np.zeros((moments(choice), len(theta)), theta.dtype)
    trail = np.empty_like(gradients)
    edges = (0, *cuts, len(theta))
    for step, gradient in enumerate(gradients.copy()):
        for start, stop in pairwise(edges):
            block = theta[start:stop]
            update(choice.code, block, gradient[start:stop], state, start, table[step])
        trail[step] = theta
    return trail


def random_run(dtype: Any, steps: int = 100, size: int = 37) -> tuple[Array, Array, Array]:
    generator = np.random.default_rng(7)
    theta = generator.normal(size=size).astype(dtype)
    gradients = (generator.normal(size=(steps, size)) + 0.3).astype(dtype)
    gradients[:, 0] = 0  # a dead unit's
    return theta, gradients, generator.uniform(1e-3, 1e-2, steps)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("rule", VARIANTS)
def test_a_hundred_steps_follow_the_papers_recurrence(
    rule: str, dtype: Any, tolerance: float
) -> None:
    theta, gradients, rates = random_run(dtype)
    trail = descend(rule, theta, gradients, rates)
    choice = choose("rule", rule)
    expected = naive.descend_naively(choice.name, choice.options, theta, gradients, rates)
    assert trail.dtype == dtype
    np.testing.assert_allclose(trail, expected, rtol=tolerance, atol=tolerance)
    assert not np.array_equal(trail[-1], theta)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize(
    "rule", ["adam", "adam(beta1=0, beta2=0)", "radam(beta1=0)", "adamw(beta2=0.5)"]
)
def test_a_small_gradient_after_a_large_one_counts(rule: str, dtype: Any, tolerance: float) -> None:
    theta, gradients, rates = random_run(dtype, steps=20)
    gradients *= np.where(np.arange(20) % 5 == 0, 1e4, 1e-4)[:, None].astype(dtype)
    choice = choose("rule", rule)
    expected = naive.descend_naively(choice.name, choice.options, theta, gradients, rates)
    trail = descend(rule, theta, gradients, rates)
    np.testing.assert_allclose(trail, expected, rtol=tolerance, atol=tolerance)


def parabola(theta: Array) -> Array:
    """Gradient of ((w1 - 1)^2 + 10 (w2 - 1)^2) / 2."""
    gradient: Array = np.array([1, 10], theta.dtype) * (theta - 1)
    return gradient


def rosenbrock(theta: Array) -> Array:
    """Gradient of (1 - x)^2 + 100 (y - x^2)^2."""
    x, y = theta
    return np.array([-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)], theta.dtype)


RATES = {
    "gd": (0.1, 0.003), "momentum": (0.01, 0.002), "nesterov": (0.01, 0.001),
    "adagrad": (1.0, 1.0), "adadelta": (10.0, 1.0), "rmsprop": (0.1, 0.005),
    "rmsprop(momentum=0.9)": (0.02, 0.001), "rmsprop(centered=1)": (0.1, 0.005),
    "rmsprop(momentum=0.9, centered=1)": (0.02, 0.001), "adam": (0.5, 0.1), "amsgrad": (0.5, 0.2),
    "adamax": (0.5, 0.2), "nadam": (0.5, 0.05), "radam": (0.5, 0.05), "adamw": (0.5, 0.1),
    "lion": (0.05, 0.002), "rprop": (0.1, 0.001), "muon": (5.0, 2.0),
}  # fmt: skip
"""By rule: the learning rate, going down to 0 in a straight line, on the parabola and Rosenbrock's
valley, both from (0, 0)."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [parabola, rosenbrock])
@pytest.mark.parametrize("rule", RATES)
def test_every_rule_reaches_the_optimum_and_compiles_once(
    rule: str, function: Callable[[Array], Array], dtype: Any
) -> None:
    choice, is_parabola = choose("rule", rule), function is parabola
    steps, tolerance = (300, 1e-4) if is_parabola else (4000, 0.1)
    rates = RATES[rule][0 if is_parabola else 1] * np.linspace(1, 0, steps)
    theta, table = np.zeros(2, dtype), coefficients(choice, rates, 1)
    state = np.zeros((moments(choice), 2), dtype)
    update(choice.code, theta.copy(), function(theta), state.copy(), 0, table[0])
    compiled = len(update.signatures)  # type: ignore[attr-defined]
    for step in range(steps):
        update(choice.code, theta, function(theta), state, 0, table[step])
    np.testing.assert_allclose(theta, 1, atol=tolerance)
    wider = np.zeros((moments(choice), 9), dtype)
    update(choice.code, np.zeros(5, dtype), np.ones(5, dtype), wider, 3, table[0])
    assert len(update.signatures) == compiled <= len(DTYPES)  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", VARIANTS)
def test_block_by_block_is_the_whole_bit_for_bit(rule: str, dtype: Any) -> None:
    theta, gradients, rates = random_run(dtype, steps=30, size=517)
    whole = descend(rule, theta, gradients, rates)
    for cuts in ((1,), (3, 64, 200, 516), tuple(range(16, 517, 16))):
        np.testing.assert_array_equal(descend(rule, theta, gradients, rates, cuts), whole)


@pytest.mark.parametrize("first", [1, 380, 1_000_000])
@pytest.mark.parametrize("rule", VARIANTS)
def test_coefficients_do_not_hang_on_how_the_steps_are_cut(rule: str, first: int) -> None:
    choice, rates = choose("rule", rule), np.random.default_rng(0).uniform(size=100)
    whole = coefficients(choice, rates, first)
    assert whole.flags.c_contiguous
    assert np.isfinite(whole).all()
    for width in (1, 3, 7, 64):
        parts = [
            coefficients(choice, rates[k : k + width], first + k) for k in range(0, 100, width)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_nadams_running_product_is_that_of_all_steps_before() -> None:
    choice = choose("rule", "nadam(beta1=0.999, decay=1)")
    mu = [0.999 * (1 - 0.96**t / 2) for t in range(1, 4002)]
    row = coefficients(choice, np.ones(1), 4000)[0]
    assert row[4] == pytest.approx(mu[4000] / (1 - np.prod(mu)), rel=1e-12)
    assert row[5] == pytest.approx((1 - mu[3999]) / (1 - np.prod(mu[:4000])), rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rule", VARIANTS)
def test_a_gradient_that_is_not_finite_shows_in_theta_and_nowhere_else(
    rule: str, bad: float, dtype: Any
) -> None:
    theta, gradients, rates = random_run(dtype, steps=8, size=40)
    gradients[6, 17] = bad
    last = descend(rule, theta, gradients, rates)[6:]
    assert not np.isfinite(last[:, 17]).any()
    assert np.isfinite(np.delete(last, 17, axis=1)).all()


@pytest.mark.parametrize(
    "loop",
    [
        each
        for module in (adam, rules)
        for each in vars(module).values()
        if isinstance(each, Dispatcher)
        and each.__module__ == module.__name__
        and not each.py_func.__name__.startswith("update")
        and "row" not in each.py_func.__name__  # of pointers, by the same loops; see below
    ],
    ids=lambda each: str(each.py_func.__name__),
)
def test_every_float32_loop_is_vectorized_and_free_of_float64(loop: Any) -> None:
    # One float64 scalar in a float32 loop costs a factor of ten. A kernel from the cache on disk
    # does not show its code, so it is compiled anew.
    fresh = numba.njit(error_model="numpy", fastmath=loop.targetoptions["fastmath"])(loop.py_func)
    arrays = loop.py_func.__code__.co_argcount - 1
    fresh.compile((numba.float32[::1],) * arrays + (numba.float64[::1],))
    check_vectors(fresh)


def test_a_row_moved_by_a_gradient_that_is_not_stored_is_vectorized() -> None:
    floats = numba.types.CPointer(numba.float32)
    fresh = numba.njit(error_model="numpy")(vars(rules)["_move_row"].py_func)
    fresh.compile((floats, numba.float32, floats, numba.int64, numba.float32))
    check_vectors(fresh)


def check_vectors(compiled: Any) -> None:
    """See whether what was compiled stores vectors of float32 and computes with nothing else."""
    (code,) = compiled.inspect_llvm().values()
    assert re.search(r"store <\d+ x float>", code)
    assert not re.search(r"(fadd|fsub|fmul|fdiv|sqrt|fpext)[^\n]*double", code)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-12)])
@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (1, 4), (4, 1), (1, 1)])
def test_muon_moves_a_matrix_as_jordans_code_does(
    shape: tuple[int, int], dtype: Any, tolerance: float
) -> None:
    generator = np.random.default_rng(1)
    theta = generator.normal(size=shape).astype(dtype)
    gradients = generator.normal(size=(20, *shape)).astype(dtype)
    rates = generator.uniform(0.01, 0.05, 20)
    expected = naive.muon_matrix(
        theta.astype(np.float64), gradients.astype(np.float64), rates, 0.95, 5
    )
    table = coefficients(choose("rule", "muon"), rates, 1)
    momentum, scratch = np.zeros(shape, dtype), np.full(muon_scratch(*shape), np.nan, dtype)
    for step, gradient in enumerate(gradients):
        muon(theta, gradient.copy(), momentum, scratch, table[step])
    np.testing.assert_allclose(theta, expected, rtol=tolerance, atol=tolerance)


def test_muons_direction_has_singular_values_near_one_whatever_the_gradients() -> None:
    generator = np.random.default_rng(2)
    gradient = generator.normal(size=(20, 8)) * np.logspace(0, -1, 8)
    theta, momentum = np.zeros((20, 8)), np.zeros((20, 8))
    row = coefficients(choose("rule", "muon"), np.ones(1), 1)[0]
    muon(theta, gradient.copy(), momentum, np.empty(muon_scratch(20, 8)), row)
    values = np.linalg.svd(theta, compute_uv=False)
    assert values.min() > 0.6
    assert values.max() < 1.25
    assert np.sum(theta * gradient) < 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_muon_shows_a_gradient_that_is_not_finite(bad: float) -> None:
    gradient = np.ones((3, 4))
    gradient[1, 2] = bad
    theta, row = np.zeros((3, 4)), coefficients(choose("rule", "muon"), np.ones(1), 1)[0]
    muon(theta, gradient, np.zeros((3, 4)), np.empty(muon_scratch(3, 4)), row)
    assert not np.isfinite(theta).any()


def test_muon_settles_on_the_nearest_matrix() -> None:
    generator = np.random.default_rng(3)
    target, theta = generator.normal(size=(6, 4)), np.zeros((6, 4))
    momentum, scratch = np.zeros((6, 4)), np.empty(muon_scratch(6, 4))
    table = coefficients(choose("rule", "muon"), 0.1 * np.linspace(1, 0, 300), 1)
    for row in table:
        muon(theta, theta - target, momentum, scratch, row)
    np.testing.assert_allclose(theta, target, atol=0.01)


def test_rprop_starts_from_the_learning_rate_of_the_first_step() -> None:
    trail = descend("rprop", np.zeros(1), np.ones((3, 1)), np.array([0.5, 9.0, 9.0]))
    np.testing.assert_allclose(trail[:, 0], [-0.5, -0.5 - 0.6, -0.5 - 0.6 - 0.72])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("momentum(1)", r"rule 'momentum': momentum must lie in \[0, 1\); got 1"),
        ("adam(beta2=-0.1)", r"rule 'adam': beta2 must lie in \[0, 1\); got -0.1"),
        ("adam(epsilon=0)", "rule 'adam': epsilon must be above 0; got 0"),
        ("rmsprop(centered=2)", r"centered must be a whole number and lie in \[0, 1\]; got 2"),
        ("rmsprop(decay=1)", r"decay must lie in \[0, 1\); got 1"),
        ("nadam(decay=-1)", "decay must be at least 0; got -1"),
        ("adamw(weight_decay=-1)", "weight_decay must be at least 0; got -1"),
        ("rprop(minus=1)", r"minus must lie in \(0, 1\); got 1"),
        ("rprop(plus=1)", "plus must be above 1; got 1"),
        ("rprop(low=2, high=1)", "low must not exceed high; got 2, 1"),
        (
            "muon(iterations=2.5)",
            r"iterations must be a whole number and lie in \[1, 99\]; got 2.5",
        ),
    ],
)
def test_an_option_out_of_range_is_named(rule: str, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        choose("rule", rule)


def test_nadams_own_decay_may_exceed_one() -> None:
    assert moments(choose("rule", "nadam(decay=2)")) == 2


def test_adams_step_is_exact_to_some_units_in_the_last_place() -> None:
    """At any size of the gradient: the quotient is not taken by a division."""
    gradient = np.geomspace(1e-18, 1e18, 1000).astype(np.float32)
    theta, choice = np.zeros_like(gradient), choose("rule", "adam(epsilon=1e-12)")
    state = np.zeros((2, len(theta)), np.float32)
    update(choice.code, theta, gradient, state, 0, coefficients(choice, np.ones(1), 1)[0])
    means, squares = state.astype(np.float64)
    exact = -(means / 0.1) / (np.sqrt(squares / 0.001) + 1e-12)
    np.testing.assert_allclose(theta, exact, rtol=5e-7)


def test_a_square_beyond_all_numbers_stops_adam_and_hides_no_nan() -> None:
    theta, choice = np.ones(40, np.float32), choose("rule", "adam")
    gradient = np.full(40, 1e30, np.float32)
    gradient[7] = np.nan
    state = np.zeros((2, 40), np.float32)
    update(choice.code, theta, gradient, state, 0, coefficients(choice, np.ones(1), 1)[0])
    assert np.isinf(np.delete(state[1], 7)).all()
    assert np.flatnonzero(~np.isfinite(theta)).tolist() == [7]
    np.testing.assert_allclose(np.delete(theta, 7), 1, atol=1e-5)
