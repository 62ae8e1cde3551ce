"""A model finds the columns that it was trained on, by their names, and leaves the others alone."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from downslope import Descent, Model, Network, Recipe, Table, datasets, descend
from downslope.errors import ModelFileError, TableError
from downslope.pipeline import TablePreparation

RECIPE = Recipe(Network([4]), Descent(epochs=2))
NAMES = ("age", "income", "debt")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    values = np.random.default_rng(0).normal(size=(60, 3))
    return pd.DataFrame(values, columns=list(NAMES))


@pytest.fixture(scope="module")
def model(frame: pd.DataFrame) -> Model:
    return descend(RECIPE, frame, (frame["age"] > 0).to_numpy()).model


def test_a_tables_columns_go_by_their_names(model: Model, frame: pd.DataFrame) -> None:
    values = frame.to_numpy()
    preparation, expected = model.preparation, model.output(frame)
    inputs = preparation.transform(frame)
    turned = Table(values[:, ::-1], None, NAMES[::-1])
    unnamed = Table(values, None, ("x0", "x1", "x2"))
    for source in (values, Table(values, None, NAMES), unnamed, turned):
        np.testing.assert_array_equal(model.output(source), expected)
        np.testing.assert_array_equal(preparation.transform(source), inputs)
        np.testing.assert_array_equal(np.asarray(preparation.inputs(source)), inputs)
    with pytest.raises(TableError, match=r"\['age', 'income', 'debt'\] were trained on and are"):
        model.predict(Table(values, None, ("a", "b", "c")))
    with pytest.raises(TableError, match="were trained on and are missing here"):
        model.predict(datasets.load("diabetes"))


def test_names_in_other_case_are_hinted_at(model: Model, frame: pd.DataFrame) -> None:
    for give in (model.predict, model.preparation.transform):
        with pytest.raises(TableError, match="'AGE' may be 'age', 'INCOME' may be 'income'"):
            give(frame.rename(columns=str.upper))


def test_columns_that_are_not_read_are_not_converted(model: Model, frame: pd.DataFrame) -> None:
    more = frame.assign(
        wave=1j, rows=[np.ones(k % 3) for k in range(60)], sparse=pd.arrays.SparseArray([0.0] * 60)
    )
    np.testing.assert_array_equal(model.predict(more), model.predict(frame))
    inputs = model.preparation.transform(frame)
    np.testing.assert_array_equal(model.preparation.transform(more), inputs)
    first = TablePreparation().fit(frame)
    np.testing.assert_array_equal(first.transform(more), first.transform(frame))


def test_a_network_trained_without_names_says_so_to_a_data_frame(frame: pd.DataFrame) -> None:
    run = descend(RECIPE, frame.to_numpy(), frame["age"] > 0)
    with pytest.raises(TableError, match=r"3 columns without names.*df\.to_numpy.*name them x0"):
        run.predict(frame)
    renamed = frame.set_axis(["x0", "x1", "x2"], axis=1)
    np.testing.assert_array_equal(run.predict(renamed), run.predict(frame.to_numpy()))


def test_a_targets_names_are_kept(frame: pd.DataFrame) -> None:
    one = descend(RECIPE, frame, pd.Series(np.arange(60) % 2, name="clicked"))
    assert one.model.preparation.target_names == ("clicked",)
    two = descend(RECIPE, frame.to_numpy(), frame[["age", "debt"]].add_suffix("2"))
    assert two.model.preparation.target_names == ("age2", "debt2")


def test_a_flipped_bit_is_refused_or_changes_nothing(model: Model, tmp_path: Path) -> None:
    path = model.save(tmp_path / "m.downslope")
    content = path.read_bytes()
    directory = content.rindex(b"PK\x01\x02")
    # Some of the bits everywhere, and all that say how an entry is packed: they have no checksum.
    packing = range(8 * directory, 8 * (directory + 16))
    for bit in {*range(0, 8 * len(content), 41), *packing}:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = Model.load(path)
        except ModelFileError:
            continue
        assert found.digest == model.digest
        assert found.recipe == model.recipe
        assert found.summary == json.loads(json.dumps(model.summary))
        assert found.preparation.to_parts() == model.preparation.to_parts()


def test_a_model_without_its_preparation_is_refused(model: Model, tmp_path: Path) -> None:
    path = model.save(tmp_path / "m.downslope")
    with zipfile.ZipFile(path) as archive:
        network, described = archive.read("network.safetensors"), archive.read("model.json")
    described = json.dumps({**json.loads(described), "preparation": None}).encode()
    for text in (described, described.replace(b'"preparation": null, ', b"")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("network.safetensors", network)
            archive.writestr("model.json", text)
        with pytest.raises(ModelFileError, match="the preparation is damaged"):
            Model.load(path)
