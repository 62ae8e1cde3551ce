"""The trace of a descent: what every recorded step measured, as data frames.

Steps, layers and epochs count from 1. L is the loss of the step's batch, a mean over its rows n, so
dL/dy and dL/dz hold a row's share of it. Sums over a layer run over its rows and units; a standard
deviation has the count under it, not the count less 1. Where a quantity does not exist, as a spread
over one row, there is null.

Forward (`layers`): x_mean, x_std, z_mean, z_std, y_mean, y_std of the layer's input, pre-activation
and output; dead: share of units whose phi(z) was 0 for every row of the batch; flat: share of
entries with |phi'| below a thousandth of its maximum.

Backward: dy_rms, slope_rms, dz_rms, x_rms, dw_rms: root mean squares of dL/dy, dy/dz = phi'(z),
dL/dz, dz/dw = x and dL/dW, penalties left out. The error shrinks from layer to layer by

    log rms dL/dy_(l-1) - log rms dL/dy_l = shrink_slope_l + shrink_weights_l,
    shrink_slope_l = log rms dL/dz_l - log rms dL/dy_l,
    shrink_weights_l = log rms dL/dy_(l-1) - log rms dL/dz_l,

exactly. Dropout, between y and phi(z), counts with the slope; normalization and the shortcut of a
residual layer, between z and x, with the weights. The first layer has no layer before it, so no
shrink_weights. With softmax dy/dz is a matrix: slope_rms is that of its diagonal; dL/dy of an
output is that of the unfused loss, 0 where a probability lies within 1e-7 of 0 or 1.

Rows: g_n, a row's own gradient, is what it adds to the batch's gradient G times the number of rows,
so G is the mean of g_n. Its squared norm for W is |x_n|^2 |dL/du_n|^2 (times the rows, squared),
and likewise for the other parameters: exact for dense layers, layer normalization, dropout and
residual layers. Under batch normalization a row moves the loss of the others through their shared
statistics; g_n is then what passes through row n's own values: the g_n still add up to G exactly,
but g_n is not the gradient of row n's own loss. sample_norm_mean, _std and quantiles are of |g_n|.

    tr(S) = (mean |g_n|^2 - |G|^2) B / (B - 1),    |G|^2 - tr(S) / B the true gradient's,
    noise_scale = tr(S) / (|G|^2 - tr(S) / B),    signal_to_noise = sqrt(B / noise_scale),

both unbiased, from B rows (McCandlish et al. 2018, appendix A.1, with batches of 1 and of B); the
noise scale is infinite where the batch's gradient is not longer than its noise alone would make it.
suggested_batch is the noise scale of the last ten records of more than one row together, numerator
and denominator averaged apart as they advise: with fewer rows steps waste data, with more they
waste time.

Update: gradient_norm is the norm of the gradient, penalties included, before clipping, clipped_norm
that of what the rule got; w_norm = |W| before the step, update_ratio = |dW| / |W|; gradient_cosine
and update_cosine compare with the step just before. At batch 1 a step of plain gradient descent
counts as minus the learning rate times G, which theta then rounds.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from downslope import storage
from downslope.counts import whole_number
from downslope.errors import (
    InvalidTypeError,
    InvalidValueError,
    ModelFileError,
    nearest,
)
from downslope.files import read_bytes
from downslope.quantities import COLUMNS, FRAMES, make_frames
from downslope.recording import Recorder

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_MARK = b"digest of all other bytes: "
"""What stands in a trace's file before the digest, in Parquet's metadata."""

_UNKNOWN = b"0" * 32
"""What stands for the digest until it is known."""


class Trace:
    """The record of a descent (see this module's text for every quantity).

    Parameters
    ----------
    frames
        The data frames by name, or a function that makes them when they are first looked at.
    digest
        Of the model that the descent led to (see `Model.digest`); "" where that is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from downslope import Descent, Network, Recipe, descend
    >>> recipe = Recipe(Network([4]), Descent(epochs=3, batch="full", validation=0.0))
    >>> rows = np.random.default_rng(0).normal(size=(20, 2))
    >>> trace = descend(recipe, rows, rows[:, 0] > 0).trace
    >>> trace.select(layer=1, quantity="dead").shape
    (3, 3)
    """

    def __init__(
        self,
        frames: Mapping[str, pl.DataFrame] | Callable[[], Mapping[str, pl.DataFrame]],
        digest: str = "",
    ) -> None:
        self._frames, self.digest = frames, digest

    @classmethod
    def of(cls, recorder: Recorder, digest: str = "") -> Trace:
        """Give the trace of what was recorded so far; the frames are made when looked at."""
        make = partial(
            make_frames,
            recorder.arrays(),
            list(recorder.dead_units),
            list(recorder.curvature),
            recorder.layout.plan,
            recorder.starts,
            recorder.steps_per_epoch,
        )
        return cls(make, digest)

    @property
    def frames(self) -> Mapping[str, pl.DataFrame]:
        """All data frames by name."""
        if callable(self._frames):
            self._frames = self._frames()  # the records they are made from are let go of
        return self._frames

    @property
    def steps(self) -> pl.DataFrame:
        """A row a recorded step."""
        return self.frames["steps"]

    @property
    def layers(self) -> pl.DataFrame:
        """A row a recorded step and layer."""
        return self.frames["layers"]

    @property
    def histograms(self) -> pl.DataFrame:
        """A row a recorded step, layer, quantity ("z", "gradient") and bin that is not empty.

        low <= z < high or low <= |dL/dw| < high; count: of 256 entries or somewhat fewer,
        evenly spread, where there are more.
        """
        return self.frames["histograms"]

    @property
    def dead_units(self) -> pl.DataFrame:
        """Share of units that give 0 for every one of up to 10,000 training rows; by step."""
        return self.frames["dead_units"]

    @property
    def curvature(self) -> pl.DataFrame:
        """Eigenvalues and trace of the Hessian before chosen steps; stable_rate = 2 / largest.

        trace_error: the standard error of the trace, which is estimated above 100 parameters; 0
        where it is exact.
        """
        return self.frames["curvature"]

    def __repr__(self) -> str:
        return f"Trace({len(self.steps)} steps, {self.layers['layer'].n_unique()} layers)"

    def select(
        self,
        layer: int | Sequence[int] | None = None,
        step: int | Sequence[int] | None = None,
        quantity: str | Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Select by layers, steps and quantities; None takes all.

        Parameters
        ----------
        layer, step
            Numbers from 1: one, several, or a range.
        quantity
            Names of columns. Those of `steps` where no layer is named and all are among them,
            else those of `layers`.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For a quantity that does not exist, and what is no number from 1.
        """
        import polars as pl

        names = _names(quantity)
        whole = layer is None and bool(names) and set(names) <= set(COLUMNS["steps"])
        frame = self.steps if whole else self.layers
        for name in names:
            if name not in frame.columns:
                raise InvalidValueError(f"trace: {_why_not(name, names, layer is None)}")
        for column, wanted in (("layer", layer), ("step", step)):
            if wanted is not None:
                frame = frame.filter(pl.col(column).is_in(_numbers(column, wanted)))
        keys = ["step"] if whole else ["step", "layer"]
        return (
            frame.select([*keys, *(each for each in names if each not in keys)]) if names else frame
        )

    def to_pandas(self, frame: str = "layers") -> pd.DataFrame:
        """Give one of the data frames as pandas has it.

        Raises
        ------
        InvalidValueError
            For a frame that does not exist.
        """
        if frame not in FRAMES:
            raise InvalidValueError(f"trace: no frame {frame!r}: {nearest(frame, FRAMES)}")
        return self.frames[frame].to_pandas()

    def save(self, path: str | Path) -> Path:
        """Write the trace to one Parquet file, atomically; give its path.

        All frames stand below one another in it, each under its name in the column "frame"; the
        column "digest" says in every row which model it belongs to. A digest of the file stands in
        its metadata, for Parquet has none, and damaged bytes may end the process that reads them.
        """
        import polars as pl
        from pyarrow import parquet

        parts = [self.frames[name].with_columns(frame=pl.lit(name)) for name in FRAMES]
        buffer = io.BytesIO()
        whole = pl.concat(parts, how="diagonal").with_columns(digest=pl.lit(self.digest))
        table = whole.to_arrow().replace_schema_metadata({"downslope": _MARK + _UNKNOWN})
        parquet.write_table(table, buffer, compression="zstd")
        before, _, after = _parted(buffer.getvalue())
        storage.write_atomically(Path(path), before + _digest(before, after) + after)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read a trace that `save` has written.

        Raises
        ------
        MissingFileError
            If there is no such file.
        UnreadableError
            If it cannot be read.
        ModelFileError
            If it is damaged or no trace.
        """
        import polars as pl

        content = read_bytes(path)
        before, digest, after = _parted(content)
        try:
            if digest != _digest(before, after):
                raise ValueError("its digest does not match what it holds")
            whole = pl.read_parquet(io.BytesIO(content))
            frames = {
                name: whole.filter(pl.col("frame") == name).select(COLUMNS[name]) for name in FRAMES
            }
        except (ValueError, pl.exceptions.PolarsError) as error:
            raise ModelFileError(
                f"{str(path)!r} is damaged, or no trace of this version: {error}"
            ) from error
        return cls(frames, str(whole["digest"][0]) if len(whole) else "")


def _parted(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Part the bytes of a trace's file into those before its digest, the digest, those after."""
    before, mark, rest = content.rpartition(_MARK)
    return before + mark, rest[: len(_UNKNOWN)], rest[len(_UNKNOWN) :]


def _digest(before: bytes, after: bytes) -> bytes:
    """Give the digest of the bytes before it and after it."""
    return hashlib.blake2b(before + after, digest_size=16).hexdigest().encode()


def _why_not(name: str, names: Sequence[str], every_layer: bool) -> str:
    """Say why a quantity is not among those by step and layer, which `names` were looked for in."""
    if name not in COLUMNS["steps"]:
        known = {*COLUMNS["layers"], *(COLUMNS["steps"] if every_layer else ())}
        return f"no quantity {name!r}: {nearest(name, sorted(known))}"
    if not every_layer:
        return f"{name!r} is by step, not by layer: select it without naming layers"
    other = next(each for each in names if each not in COLUMNS["steps"])
    if other not in COLUMNS["layers"]:
        return _why_not(other, names, every_layer)
    return f"{name!r} is by step, {other!r} by step and layer: select them apart"


def _numbers(column: str, wanted: Any) -> list[int]:
    """Check one number or several of layers or steps."""
    several = isinstance(wanted, Iterable) and not isinstance(wanted, (str, bytes))
    takes = "whole numbers from 1, one, several or a range"
    return [
        whole_number(f"trace: {column}", each, 1, takes=takes)
        for each in (wanted if several else [wanted])
    ]


def _names(quantity: Any) -> list[str]:
    """Check one name or several of columns."""
    names = [quantity] if isinstance(quantity, str) else () if quantity is None else quantity
    if not isinstance(names, Iterable) or not all(isinstance(each, str) for each in names):
        raise InvalidTypeError(
            f"trace: quantity takes names of columns, one or several; got {quantity!r}"
        )
    return list(names)
