"""Data sets that need no file: scikit-learn's small real ones, and generated ones.

The real ones are read from the files that scikit-learn brings along, without importing it, which
takes longer than most descents on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from downslope.counts import whole_number
from downslope.errors import InvalidTypeError, InvalidValueError, nearest
from downslope.table import Array, Table

Drawn = tuple[Array, Array]
"""Features, (rows, columns) float64, and the target, (rows,)."""


@dataclass(frozen=True)
class Dataset:
    """One built-in data set: its size, what it asks for, what it is.

    A generated one has a `draw`, from (rows, noise, generator) to features and target, and `rows`
    and `noise` are defaults. `columns` are the features' names.
    """

    rows: int
    columns: tuple[str, ...]
    target: str
    task: str
    line: str
    noise: float = 0.0
    draw: Callable[[int, float, np.random.Generator], Drawn] | None = None


def load(name: str, rows: int | None = None, noise: float | None = None, seed: int = 0) -> Table:
    """Load a built-in data set.

    Parameters
    ----------
    name
        One of `names`.
    rows, noise
        Of a generated one: how many rows to draw, and the standard deviation of the normal noise
        (of circles, moons, spirals and xor on both features, of blobs around each centre, of sine
        on the target). None takes the default; a real one takes None only.
    seed
        Of what is drawn at random.

    Returns
    -------
    Table
        Features float32, (rows, columns); target (rows,): names of classes, digits 0 to 9, or
        float64 for regression.

    Raises
    ------
    InvalidValueError
        For an unknown name, for rows or noise of a real data set, fewer than 10 rows, or negative
        noise or seed.
    InvalidTypeError
        If `rows` or `seed` is no whole number, or `noise` no number.

    Examples
    --------
    >>> load("iris")
    Table('iris': 150 rows, 4 columns, target 'species')
    >>> load("moons", rows=50, noise=0)
    Table('moons': 50 rows, 2 columns, target 'moon')
    """
    dataset = DATASETS.get(name)
    if dataset is None:
        raise InvalidValueError(f"unknown data set {name!r}: {nearest(name, DATASETS)}")
    if dataset.draw is None:
        if rows is not None or noise is not None:
            raise InvalidValueError(
                f"data set {name!r} has rows of its own, {dataset.rows}: rows and noise are for "
                "generated ones; leave them out"
            )
        features, target = _read_real(name)
    else:
        rows = _check_rows(dataset.rows if rows is None else rows)
        noise = _check_noise(dataset.noise if noise is None else noise)
        generator = np.random.default_rng(whole_number("seed", seed))
        features, target = dataset.draw(rows, noise, generator)
        order = generator.permutation(rows)
        features, target = features[order], target[order]
    numbers = np.ascontiguousarray(features, dtype=np.float32)
    return Table(numbers, target, dataset.columns, (dataset.target,), name)


def names() -> dict[str, str]:
    """Give every data set's name with one line: its size, task, and what it is.

    Examples
    --------
    >>> print(names()["wine"])
    178 x 13, multiclass: three Italian cultivars, by the chemistry of their wine
    """
    return {
        name: f"{each.rows} x {len(each.columns)}, {each.task}: {each.line}"
        for name, each in DATASETS.items()
    }


def _check_rows(rows: object) -> int:
    return whole_number("rows", rows, 10)


def _check_noise(noise: object) -> float:
    if isinstance(noise, bool) or not isinstance(noise, int | float | np.number):
        raise InvalidTypeError(f"noise takes a number; got {noise!r}")
    if not 0 <= float(noise) < np.inf:
        raise InvalidValueError(f"noise must be 0 or more, and finite; got {noise}")
    return float(noise)


def _draw_moons(rows: int, noise: float, generator: np.random.Generator) -> Drawn:
    """Draw two half circles of radius 1, the lower one shifted by (1, 1/2), as in scikit-learn."""
    upper = rows // 2
    angle = np.concatenate([np.linspace(0, np.pi, upper), np.linspace(0, np.pi, rows - upper)])
    lower = np.arange(rows) >= upper
    x = np.where(lower, 1 - np.cos(angle), np.cos(angle))
    y = np.where(lower, 0.5 - np.sin(angle), np.sin(angle))
    return _add_noise(np.column_stack([x, y]), noise, generator), lower.astype(np.int64)


def _draw_circles(rows: int, noise: float, generator: np.random.Generator) -> Drawn:
    """Draw a circle of radius 1 around one of radius 1/2."""
    outer = rows // 2
    angle = np.concatenate(
        [np.linspace(0, 2 * np.pi, n, endpoint=False) for n in (outer, rows - outer)]
    )
    inside = np.arange(rows) >= outer
    radius = np.where(inside, 0.5, 1.0)
    circles = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    return _add_noise(circles, noise, generator), inside.astype(np.int64)


def _draw_blobs(rows: int, noise: float, generator: np.random.Generator) -> Drawn:
    """Draw three normal clouds around the corners of a triangle, 5.2 apart."""
    label = np.arange(rows) % 3
    angle = np.pi / 2 + 2 * np.pi * label / 3
    centers = 3 * np.column_stack([np.cos(angle), np.sin(angle)])
    return _add_noise(centers, noise, generator), label


def _draw_spirals(rows: int, noise: float, generator: np.random.Generator) -> Drawn:
    """Draw two arms of one turn and three quarters, opposite each other, 0.29 apart."""
    first = rows // 2
    along = np.concatenate([np.linspace(0.1, 1, first), np.linspace(0.1, 1, rows - first)])
    second = np.arange(rows) >= first
    angle = 3.5 * np.pi * along + np.pi * second
    arms = along[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return _add_noise(arms, noise, generator), second.astype(np.int64)


def _draw_xor(rows: int, noise: float, generator: np.random.Generator) -> Drawn:
    """Draw points of a square, 0.05 or more from its axes; opposite quarters are of one class."""
    quarter = np.arange(rows) % 4
    size = generator.uniform(0.05, 1.0, (rows, 2))
    x, y = np.where(quarter % 2 == 0, 1, -1), np.where(quarter < 2, 1, -1)
    points = size * np.column_stack([x, y])
    return _add_noise(points, noise, generator), (x != y).astype(np.int64)


def _draw_sine(rows: int, noise: float, generator: np.random.Generator) -> Drawn:
    """Draw y = sin x over two periods."""
    x = np.linspace(-2 * np.pi, 2 * np.pi, rows)
    return x[:, None], _add_noise(np.sin(x), noise, generator)


def _add_noise(exact: Array, noise: float, generator: np.random.Generator) -> Array:
    noisy: Array = exact + noise * generator.standard_normal(exact.shape)
    return noisy


def _read_real(name: str) -> Drawn:
    """Read one of scikit-learn's data sets; through scikit-learn where its files have moved."""
    try:
        return _REAL[name]()
    except FileNotFoundError:
        return _read_through_scikit_learn(name)


def _read_through_scikit_learn(name: str) -> Drawn:
    import sklearn.datasets

    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(sklearn.datasets, f"load_{name}")(**options)
    if name in ("digits", "diabetes"):
        return bunch.data, bunch.target
    return bunch.data, np.asarray(bunch.target_names)[bunch.target]


def _file(name: str) -> Path:
    """Give the path of a file that scikit-learn brings along, without importing scikit-learn."""
    found = find_spec("sklearn")
    folders = [] if found is None else found.submodule_search_locations or []
    return next((Path(each) / "datasets" / "data" / name for each in folders), Path(name))


def _read_numbers(name: str, delimiter: str | None, skip: int = 0) -> Array:
    return np.loadtxt(_file(name), delimiter=delimiter, skiprows=skip)


def _read_classes(name: str) -> Drawn:
    """Read a file whose header ends with the classes' names, and each row with its class."""
    with _file(name).open(encoding="utf-8") as file:
        classes = np.array(file.readline().strip().split(",")[2:])
    values = _read_numbers(name, ",", skip=1)
    return values[:, :-1], classes[values[:, -1].astype(np.int64)]


def _read_wine() -> Drawn:
    return _read_classes("wine_data.csv")


def _read_digits() -> Drawn:
    values = _read_numbers("digits.csv.gz", ",")
    return values[:, :-1], values[:, -1].astype(np.int64)


def _read_diabetes() -> Drawn:
    features = _read_numbers("diabetes_data_raw.csv.gz", None)
    return features, _read_numbers("diabetes_target.csv.gz", None)


_REAL: Final = MappingProxyType(
    {
        "digits": _read_digits,
        "iris": lambda: _read_classes("iris.csv"),
        "wine": _read_wine,
        "breast_cancer": lambda: _read_classes("breast_cancer.csv"),
        "diabetes": _read_diabetes,
    }
)

_PIXELS: Final = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))
_IRIS: Final = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
_WINE: Final = (
    "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols",
    "flavanoids", "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue",
    "od280/od315_of_diluted_wines", "proline",
)  # fmt: skip
_CELL: Final = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity",
    "concave points", "symmetry", "fractal dimension",
)  # fmt: skip
_CELLS: Final = (
    *(f"mean {each}" for each in _CELL),
    *(f"{each} error" for each in _CELL),
    *(f"worst {each}" for each in _CELL),
)
_DIABETES: Final = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
_PLANE: Final = ("x", "y")

DATASETS: Final = MappingProxyType(
    {
        "digits": Dataset(1797, _PIXELS, "digit", "multiclass",
                          "handwritten digits, 8 x 8 pixels of 0 to 16"),
        "iris": Dataset(150, _IRIS, "species", "multiclass",
                        "three species of iris, by the size of their flowers"),
        "wine": Dataset(178, _WINE, "cultivar", "multiclass",
                        "three Italian cultivars, by the chemistry of their wine"),
        "breast_cancer": Dataset(569, _CELLS, "diagnosis", "binary",
                                 "malignant or benign, by the shape of cell nuclei"),
        "diabetes": Dataset(442, _DIABETES, "progression", "regression",
                            "progression of diabetes after a year, by ten measurements"),
        "moons": Dataset(1000, _PLANE, "moon", "binary",
                         "generated: two half circles, reaching into each other", 0.1, _draw_moons),
        "circles": Dataset(1000, _PLANE, "circle", "binary",
                           "generated: a circle around a smaller one", 0.05, _draw_circles),
        "blobs": Dataset(1000, _PLANE, "blob", "multiclass",
                         "generated: three round clouds", 1.0, _draw_blobs),
        "spirals": Dataset(1000, _PLANE, "spiral", "binary",
                           "generated: two spirals around each other", 0.01, _draw_spirals),
        "xor": Dataset(1000, _PLANE, "differ", "binary",
                       "generated: are the signs of x and y different?", 0.0, _draw_xor),
        "sine": Dataset(1000, ("x",), "y", "regression",
                        "generated: a sine over two periods", 0.1, _draw_sine),
    }
)  # fmt: skip
"""Every built-in data set by its name."""
