"""minimize(): exact where the mathematics is exact, and honest about where it ended."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from typing import Any

import numpy as np
import pytest

from downslope import minimize, minimize_from
from downslope.catalogue import RULES, choose
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.function_run import is_lower, lowest_minimum
from downslope.functions import resolve
from downslope.gallery import GALLERY
from downslope.kernels.rules import coefficients, moments, update
from downslope.minimization import check_rule, random_starts


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.3, 0.39, 0.4, 0.401, 0.5])
def test_gradient_descent_on_a_quadratic_follows_its_closed_form(rate: float) -> None:
    # f = (lambda_1 x^2 + lambda_2 y^2) / 2: each step scales w_i by 1 - eta lambda_i.
    curvatures, start = np.array([1.0, 5.0]), np.array([3.0, -2.0])
    run = minimize("x**2/2 + 5*y**2/2", start, learning_rate=rate, steps=60, gradient_tolerance=0)
    k = np.arange(61)[:, None]
    expected = (1 - rate * curvatures) ** k * start
    np.testing.assert_allclose(run.thetas, expected, rtol=1e-12, atol=1e-12)
    assert (abs(run.theta[1]) > 2.01) == (rate > 0.4)


def heavy_ball(curvature: float, rate: float, mu: float, start: float, steps: int) -> Any:
    """Closed form of w_(k+1) = (1 + mu - eta lambda) w_k - mu w_(k-1), v_0 = 0.

    Its solutions are powers of the roots of r^2 - (1 + mu - eta lambda) r + mu = 0. Both are below
    1 in size exactly if 0 < eta lambda < 2 (1 + mu) (Polyak 1964; Goh 2017): at the bound one root
    is -1.
    """
    roots = np.roots([1, -(1 + mu - rate * curvature), mu]).astype(complex)
    second = (1 - rate * curvature) * start
    parts = np.linalg.solve(np.array([[1, 1], roots]), np.array([start, second], complex))
    return (roots ** np.arange(steps + 1)[:, None] @ parts).real, np.abs(roots).max()


@pytest.mark.parametrize("mu", [0.5, 0.9])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999, 1.001, 1.05])
def test_momentum_diverges_exactly_beyond_its_stability_bound(mu: float, share: float) -> None:
    curvature, start, steps = 3.0, 1.5, 400
    rate = share * 2 * (1 + mu) / curvature
    run = minimize(
        "1.5*x**2", start, f"momentum({mu})", learning_rate=rate, steps=steps,
        gradient_tolerance=0,
    )  # fmt: skip
    expected, largest_root = heavy_ball(curvature, rate, mu, start, steps)
    np.testing.assert_allclose(run.thetas[:, 0], expected, rtol=1e-9, atol=1e-9)
    assert (largest_root > 1) == (share > 1)
    late, early = np.abs(run.thetas[-50:]).max(), np.abs(run.thetas[50:100]).max()
    assert (late > early) == (share > 1)


@pytest.mark.parametrize("mu", [0.5, 0.9])
def test_just_below_the_bound_momentum_converges_and_just_beyond_it_blows_up(mu: float) -> None:
    bound = 2 * (1 + mu) / 3.0
    rule = f"momentum({mu})"
    below = minimize("1.5*x**2", 1, rule, learning_rate=0.995 * bound, steps=20_000)
    assert below.reason.startswith("optimum")
    assert below.ending.kind == "minimum"
    beyond = minimize("1.5*x**2", 1, rule, learning_rate=1.005 * bound, steps=200_000)
    assert beyond.ending.kind == "diverged"
    assert "not finite" in beyond.reason


CONVEX = [name for name, each in GALLERY.items() if each.is_convex]


@pytest.mark.parametrize("name", CONVEX)
@pytest.mark.parametrize("rule", [*RULES, "lbfgs"])
def test_every_rule_reaches_the_minimum_of_what_is_convex(rule: str, name: str) -> None:
    # Decoupled decay pulls to 0, which is where these minima are; cosine lets rules settle whose
    # steps have a length of their own.
    settings: dict[str, Any] = {} if rule == "lbfgs" else {"schedule": "cosine"}
    run = minimize(name, None, rule, steps=2000, noise=0.0, **settings)
    (place, value), *_ = run.function.minima
    np.testing.assert_allclose(run.theta, place, atol=2e-3)
    assert run.value == pytest.approx(value, abs=1e-5)
    assert run.at_known == (place, value)
    assert run.values[-1] < run.values[0]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "muon"])
def test_a_descent_is_the_engines_own_kernel_step_by_step(rule: str) -> None:
    function, start = resolve("beale"), np.array([1.0, 1.5])
    run = minimize(
        function, start, rule, learning_rate=0.003, steps=40, schedule="cosine", clip_norm=2.0
    )
    choice = choose("rule", rule)
    rates = 0.003 * (1 + np.cos(np.pi * np.arange(40) / 40)) / 2
    table, theta = coefficients(choice, rates, 1), start.copy()
    state = np.zeros((moments(choice), 2))
    decay = choice.options.get("weight_decay", 0.0)
    for step in range(40):
        np.testing.assert_array_equal(run.thetas[step], theta)
        gradient = function.gradient(theta)
        np.testing.assert_array_equal(run.gradients[step], gradient)
        norm = np.linalg.norm(gradient)
        gradient *= min(1.0, 2.0 / float(norm))
        if decay:
            theta *= 1 - rates[step] * decay
        update(choice.code, theta, gradient, state, 0, table[step])
    np.testing.assert_allclose(run.theta, theta, rtol=1e-13)
    np.testing.assert_allclose(run.rates, rates, rtol=1e-14)
    np.testing.assert_allclose(run.moves, np.diff(run.thetas, axis=0))


def test_a_rule_of_ones_own_and_muon_move_every_start_with_its_own_state() -> None:
    def mine(theta: Any, gradient: Any, state: dict[str, Any], rate: float, step: int) -> None:
        state["sum"] = state.get("sum", 0) + gradient
        theta -= rate * state["sum"]

    starts = [(3.0, -1.0), (0.5, 2.0)]
    for rule in (mine, "muon"):
        both = minimize_from("matyas", starts, rule, learning_rate=0.02, steps=30)
        alone = [minimize("matyas", each, rule, learning_rate=0.02, steps=30) for each in starts]
        for run, single in zip(both, alone, strict=True):
            np.testing.assert_array_equal(run.thetas, single.thetas)
    assert minimize("x**2", 1, mine, learning_rate=0.1, steps=1).rule == "mine"


def test_muon_takes_steps_of_one_length_whatever_the_gradient() -> None:
    run = minimize("1e6*x**2 + 1e6*y**2", (3, 4), "muon", learning_rate=0.1, steps=3)
    lengths = np.linalg.norm(run.moves, axis=1)
    assert (lengths > 0.065).all()
    assert (lengths < 0.125).all()
    np.testing.assert_allclose(run.moves[0] / lengths[0], [-0.6, -0.8], atol=1e-6)


@pytest.mark.parametrize(
    ("function", "start", "kind"),
    [
        ("x**4 - 3*x**3 + 2", 4, "minimum"),
        ("x**2 - y**2", (1, 0), "saddle"),
        ("x**4 - 3*x**3 + 2", -0.5, "not converged"),
        ("plateau", (9, 9), "plateau"),
    ],
)
def test_a_run_says_what_its_end_is(function: str, start: Any, kind: str) -> None:
    run = minimize(function, start, learning_rate=0.01, steps=3000)
    assert run.ending.kind == kind


def test_a_lower_minimum_is_told_known_or_found() -> None:
    run = minimize("three_hump_camel", (2.0, -1.0), "lbfgs")
    assert run.ending.kind == "minimum"
    assert run.at_known is not None
    assert run.at_known[1] == pytest.approx(0.2986384422)
    assert run.lower_known == ((0.0, 0.0), 0.0)
    runs = minimize_from("x**4 - 4*x**2 + x", [(2.0,), (-2.0,)], "lbfgs")
    lowest = lowest_minimum(runs)
    assert lowest is runs[1]
    assert is_lower(runs[1], runs[0])
    assert not is_lower(runs[0], runs[1])
    assert runs[0].lower_known is None


def test_a_diverging_run_ends_with_its_last_finite_theta_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = minimize("x**4 - 3*x**3 + 2", 4, learning_rate=1.0, steps=1000)
    assert run.ending.kind == "diverged"
    assert run.reason.startswith("diverged: after step ")
    assert np.isfinite(run.thetas).all()
    assert np.isfinite(run.values).all()
    assert run.steps == len(run.values) - 1 == len(run.rates) < 20


def test_a_run_that_climbs_says_that_the_rate_is_too_large() -> None:
    run = minimize("x**2", 1, learning_rate=1.01, steps=50)
    assert run.ending.kind == "not converged"
    assert "learning rate is too large" in run.ending.remark


def test_without_a_learning_rate_the_best_of_the_sweep_is_taken() -> None:
    run = minimize("ravine", rule="gd", steps=300)
    assert run.sweep is not None
    assert run.learning_rate == run.sweep.best
    finite = run.sweep.values[np.isfinite(run.sweep.values)]
    assert run.value == pytest.approx(finite.min())
    assert minimize("ravine", learning_rate=0.01, steps=5).sweep is None


def test_a_function_of_the_gallery_has_a_start_of_its_own() -> None:
    run = minimize("rosenbrock", learning_rate=1e-3, steps=1)
    np.testing.assert_array_equal(run.thetas[0], [-1.5, 2.0])


def test_a_python_function_descends_as_its_formula_does() -> None:
    def bowl(theta: Any) -> float:
        return float(theta[0] ** 2 + 3 * theta[1] ** 2)

    def slope(theta: Any) -> Any:
        return np.array([2 * theta[0], 6 * theta[1]])

    formula = minimize("x**2 + 3*y**2", (1, 2), "adam", learning_rate=0.1, steps=100)
    given = minimize(bowl, (1, 2), "adam", learning_rate=0.1, steps=100, gradient=slope)
    without = minimize(bowl, (1, 2), "adam", learning_rate=0.1, steps=100)
    np.testing.assert_allclose(given.thetas, formula.thetas, rtol=1e-12)
    np.testing.assert_allclose(without.thetas, formula.thetas, atol=1e-6)
    assert without.function.derivatives == "central differences"


def test_noise_comes_from_the_seed_and_is_told() -> None:
    first, again = (minimize("x**2", 1, noise=0.5, learning_rate=0.1, steps=50) for _ in range(2))
    other = minimize("x**2", 1, noise=0.5, learning_rate=0.1, steps=50, seed=1)
    np.testing.assert_array_equal(first.thetas, again.thetas)
    assert not np.array_equal(first.thetas, other.thetas)
    drawn = minimize("0*x + 0*y", (0, 0), noise=2.0, learning_rate=0, steps=4000).gradients[:-1]
    assert drawn.std() == pytest.approx(2.0, rel=0.05)
    assert abs(drawn.mean()) < 0.1
    assert "noise" in first.ending.remark or first.ending.kind == "minimum"


def test_stops_at_the_target_the_time_and_the_tolerance() -> None:
    run = minimize("x**2", 1, learning_rate=0.1, target_loss=0.1)
    assert run.reason == f"target: f(w) = {run.value:.4g} reached 0.1"
    assert run.values[-1] <= 0.1 < run.values[-2]
    run = minimize("x**2", 1, learning_rate=1e-9, steps=10_000_000, seconds=0.05)
    assert run.reason == "seconds: 0.05 are over"
    run = minimize("x**2", 1, learning_rate=0.1, gradient_tolerance=1e-3)
    assert run.norms[-1] <= 1e-3 < run.norms[-2]


@pytest.mark.parametrize("rule", ["gd", "lbfgs"])
def test_control_c_keeps_the_steps_so_far(rule: str) -> None:
    def slow(theta: Any) -> float:
        if len(calls) == 200:
            os.kill(os.getpid(), signal.SIGINT)
        calls.append(1)
        return float(np.sum(100 * (theta[1:] - theta[:-1] ** 2) ** 2 + (1 - theta[:-1]) ** 2))

    calls: list[int] = []
    settings: dict[str, Any] = {} if rule == "lbfgs" else {"learning_rate": 1e-4}
    run = minimize(slow, np.zeros(8), rule, steps=100_000, **settings)
    assert run.reason.startswith("interrupted")
    assert 0 < run.steps < 100_000
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_runs_outside_of_the_main_thread() -> None:
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(minimize("x**2", 1, learning_rate=0.1, steps=5))
    )
    thread.start()
    thread.join()
    assert found[0].steps == 5


def test_random_starts_lie_in_the_domain_where_the_function_is_defined() -> None:
    starts = random_starts(resolve("rosenbrock"), 200, seed=3)
    assert starts.shape == (200, 2)
    assert (np.abs(starts - [0, 1]) <= 2).all()
    np.testing.assert_array_equal(starts, random_starts(resolve("rosenbrock"), 200, seed=3))
    assert (random_starts(resolve("log(x)"), 50) > 0).all()
    with pytest.raises(InvalidValueError, match="gave finite values only 0 times in 500"):
        random_starts(resolve("log(-10 - x**2)"), 5)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "said"),
    [
        (("x**2", 1, "grad"), {}, InvalidValueError, "unknown rule 'grad'.*[Kk]nown are .*'lbfgs'"),
        (("x**2", 1, "adam(beta3=1)"), {}, InvalidValueError, "no option 'beta3'"),
        (("x**2", 1, "adam(beta1=1)"), {}, InvalidValueError, "beta1 must lie"),
        (("x**2", (1, 2)), {}, InvalidValueError, "has 1 variable"),
        (("x**2",), {}, InvalidValueError, "needs a start: 1 numbers, for x"),
        (("x**2", np.nan), {}, InvalidValueError, "finite numbers"),
        (("x**2", np.inf), {}, InvalidValueError, "finite numbers"),
        (("x**2", "1"), {}, InvalidTypeError, "one real number"),
        (("x**2", 1j), {}, InvalidTypeError, "one real number"),
        (("log(x)", -1), {}, InvalidValueError, r"f is nan; start elsewhere"),
        (("sqrt(x)", 0), {}, InvalidValueError, "its gradient is"),
        (("1/x", 0), {}, InvalidValueError, "f is inf"),
        (("x**2", 1), {"epochs": 3}, InvalidValueError, "no setting 'epochs'.*'steps'"),
        (("x**2", 1), {"steps": 0}, InvalidValueError, "steps must be at least 1"),
        (("x**2", 1), {"steps": None}, InvalidValueError, "whole number|all three None"),
        (("x**2", 1), {"learning_rate": -1}, InvalidValueError, "learning_rate must be at least 0"),
        (("x**2", 1), {"schedule": "plateau"}, InvalidValueError, "a function has no epochs"),
        (
            ("x**2", 1),
            {"noise": -1},
            InvalidValueError,
            "minimize: noise must be at least 0; got -1",
        ),
        (("x**2", 1), {"noise": "much"}, InvalidTypeError, "noise takes a number"),
        (("x**2", 1, "lbfgs"), {"learning_rate": 1.0}, InvalidValueError, "no learning_rate"),
        (("x**2", 1, "lbfgs"), {"clip_norm": 1.0}, InvalidValueError, "no clip_norm"),
        (("x**2", 1), {"steps": 10**9}, InvalidValueError, "too much to write down"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: tuple[Any, ...], settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        minimize(*arguments, **settings)


def test_starts_of_different_lengths_are_refused() -> None:
    with pytest.raises((InvalidValueError, InvalidTypeError), match=r"one number|one real number"):
        minimize_from("x + y", [(1, 2), (1,)])


def test_a_rule_is_checked_by_its_name() -> None:
    check_rule("lbfgs")
    check_rule("Adam(0.8)")
    with pytest.raises(InvalidValueError, match="did you mean 'momentum'"):
        check_rule("momentun")
