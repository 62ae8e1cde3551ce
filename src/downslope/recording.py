"""What is recorded of a descent while it goes on: which steps, and their sums as they come.

By default the first ten steps are recorded and then every fiftieth after the first: 51, 101, 151
and so on (every hundredth where a step takes but some microseconds, by its operations; every
two-hundredth at batch 1); whenever 200 of those have come together, every second is left out and
only every second is recorded from then on. So a run of any length has up to 200 of them, evenly
spread; which steps these are depends on their numbers, the network and the batch alone. Where the
steps of an epoch divide the distance, they are first steps of epochs: their batches are full ones,
which those of last steps need not be.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.counts import LARGEST, whole_number
from downslope.errors import InvalidTypeError, InvalidValueError, nearest
from downslope.kernels import gauges
from downslope.kernels.gauges import KEPT, Record
from downslope.kernels.loop import Job
from downslope.kernels.plan import WEIGHT
from downslope.layout import Layout
from downslope.network import BuiltNetwork
from downslope.row_norms import QUANTILES, describe

Array = npt.NDArray[Any]

FIRST, EVERY, MOST = 10, 50, 200
"""Steps recorded at the start; the distance of the others, more where steps are short (see
`_rarity`); how many of them at most."""

SHORT_WORK = 2_000_000
"""Floating point operations of a step up to which it counts as short."""

CHOICES = ("default", "all", "none")

LEAST, BYTES, MOST_BYTES = 256, 1 << 21, 1 << 24
"""Records that are given room at once: at least so many, and 2 MiB of them, then twice as many each
time, up to 16 MiB; of the rows' squared norms, which are not kept, never more than 2 MiB. The more
of them are made at once, the less time each takes; room that is not written to takes no memory."""

DEAD_EPOCHS = tuple(digit * 10**power for power in range(1, 7) for digit in (3, 10))
"""Epochs at whose ends dead units are looked for: 30, 100, 300, ...; and at the run's. Where there
are any, that takes a third of an epoch."""


@dataclass(frozen=True)
class Recording:
    """Which steps of a descent are recorded; steps count from 1.

    Parameters
    ----------
    steps
        "default" (see above), "all", "none", or the numbers of the steps. "all" keeps up to 0.7 kB
        a step and layer, of one wider than 256 units a byte a unit more, up to 4.5 kB; to make the
        trace's data frames, its file and the page takes up to 8 kB a step and layer for a while.
    curvature
        Steps before which the curvature of the loss is measured.
    every
        Distance of the steps that are recorded by default, at first; None takes 50, and a
        `Recorder` more where steps are short.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For anything outside these rules.

    Examples
    --------
    >>> Recording([3, 1, 2]).steps
    (1, 2, 3)
    >>> Recording().chosen(0, 60)
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 51]
    """

    steps: str | Sequence[int] = "default"
    curvature: Sequence[int] = ()
    every: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.steps, str):
            if self.steps not in CHOICES:
                raise InvalidValueError(
                    f"record takes step numbers or a choice; got {self.steps!r}: "
                    f"{nearest(self.steps, CHOICES)}"
                )
        else:
            object.__setattr__(self, "steps", _numbers("record", self.steps, CHOICES))
        object.__setattr__(self, "curvature", _numbers("curvature", self.curvature))
        if self.every is not None:
            object.__setattr__(self, "every", whole_number("Recording: every", self.every, 1))

    def chosen(self, first: int, last: int) -> Sequence[int]:
        """Give the numbers of the recorded steps after `first` steps, up to number `last`."""
        if not isinstance(self.steps, str):
            return self.steps[bisect_right(self.steps, first) : bisect_right(self.steps, last)]
        if self.steps != "default":
            return range(first + 1, last + 1) if self.steps == "all" else []
        chosen = list(range(first + 1, min(FIRST, last) + 1))
        end = max(first, FIRST)
        while end < last:
            spacing = self.distance(end + 1)
            begin, end = self.next_after(end), min(last, 1 + MOST * spacing)
            chosen += range(begin, end + 1, spacing)
        return chosen

    def next_after(self, step: int) -> int:
        """Give the first recorded step after one; a number beyond all where there is none."""
        if not isinstance(self.steps, str):
            after = bisect_right(self.steps, step)
            return self.steps[after] if after < len(self.steps) else sys.maxsize
        if self.steps == "none":
            return sys.maxsize
        if self.steps == "all" or step < FIRST:
            return step + 1
        spacing = self.distance(step + 1)
        return step + spacing - (step - 1) % spacing

    def distance(self, step: int) -> int:
        """Give the distance of recorded steps around a step beyond the first ten, by default.

        >>> [Recording().distance(step) for step in (10_001, 10_002, 20_002)]
        [50, 100, 200]
        """
        every = EVERY if self.every is None else self.every
        return every << ((step - 2) // (every * MOST)).bit_length()


def _rarity(layout: Layout, batch: int) -> int:
    """Say how many times rarer steps are recorded by default, so that it takes 5 % of the time.

    A step measured takes less than twice the time of one that is not, and up to four times where
    that is short. Of a single row the gradient would not even be stored: five times.
    """
    if batch == 1:
        return 4
    return 2 if 6 * layout.parameters * batch < SHORT_WORK else 1


def _numbers(name: str, steps: Any, choices: Sequence[str] = ()) -> tuple[int, ...]:
    """Check step numbers; give them in order, each once."""
    if not isinstance(steps, (Sequence, range, np.ndarray)) or isinstance(steps, str):
        named = ", ".join(repr(choice) for choice in choices)
        first = f"{named}, or the numbers of the steps" if choices else "step numbers"
        raise InvalidTypeError(f"{name} takes {first}, as [1, 2, 100]; got {steps!r}")
    for step in steps:
        number = whole_number(name, step, -LARGEST, takes="whole numbers of steps")
        if number < 1:
            raise InvalidValueError(f"{name}: steps count from 1; got {step}")
    return tuple(sorted({int(step) for step in steps}))


def as_recording(record: Any) -> Recording:
    """Read what `descend` takes: a `Recording`, or what its steps may be.

    >>> as_recording("none")
    Recording(steps='none', curvature=(), every=None)
    """
    return record if isinstance(record, Recording) else Recording(record)


class Recorder:
    """The records of a descent as they come, as sums; `trace.Trace` makes figures of them.

    The compiled loop writes into one `Record`, chunk after chunk, and then into the next: what it
    writes is kept where it lies, but for the rows' squared norms.

    Parameters
    ----------
    recording
    layout
    rows
        Of an epoch.
    batch
        Rows of a step.
    """

    def __init__(self, recording: Recording, layout: Layout, rows: int, batch: int) -> None:
        if recording.steps == "default" and recording.every is None:
            recording = replace(recording, every=EVERY * _rarity(layout, batch))
        self.recording, self.layout = recording, layout
        self._rows, self._batch = rows, batch
        self.starts = gauges.drawing(layout.plan, batch)[1]
        self._record = self._unrecorded = gauges.empty_record()
        one = sum(array.nbytes for array in self._new_record(1)[2:-1])
        self._most = min(max(LEAST, MOST_BYTES // one), BYTES // (8 * batch))
        self._room = min(max(LEAST, BYTES // one), self._most)
        self.steps_per_epoch = -(-rows // batch)
        self._kept: dict[str, list[Array]] = {}
        self._pending: list[tuple[Array, Array, Array, Array]] = []
        self._used = self._taken = self._next = 0
        self._at = np.empty(0, np.int64)  # where in the last chunk the recorded steps are
        self.dead_units: list[tuple[int, int, float]] = []
        self.curvature: list[dict[str, float]] = []

    def epochs_ahead(self, steps: int, epochs: int) -> int:
        """Give how many epochs may go into one chunk, after so many steps and epochs.

        Curvature is measured before a chunk begins, dead units after one has ended; and the records
        must have room.
        """
        ahead = sys.maxsize
        bends = [each - 1 - steps for each in self.recording.curvature if each > steps]
        if bends:
            ahead = bends[0] // self.steps_per_epoch
        if self.recording.steps != "none":
            ahead = min(ahead, next((e for e in DEAD_EPOCHS if e > epochs), sys.maxsize) - epochs)
        if self.recording.steps not in ("default", "none"):
            ahead = min(ahead, self._room // self.steps_per_epoch)
        return ahead

    def begin(self, first: int, steps: int) -> Record:
        """Give the record for a chunk of steps, `first` steps having been done."""
        # Short chunks come by the thousand: most of them end before the next recorded step.
        if first < self._next > first + steps + 1:
            return self._unrecorded
        chosen = self.recording.chosen(first, first + steps + 1)
        self._next = self.recording.next_after(first + steps)
        if not chosen:
            return self._unrecorded
        at = np.arange(chosen.start, chosen.stop) if isinstance(chosen, range) else np.array(chosen)
        at -= first + 1
        self._at = at[at < steps]
        self._make_room(len(self._at))
        return self._record._replace(first=self._used, at=at)

    def _make_room(self, count: int) -> None:
        """See to it that there is room for so many records more."""
        if self._used + count > len(self._record.norms):
            self._flush()
            self._record = self._new_record(max(count, self._room))
            self._used = self._taken = 0
            self._room = min(2 * self._room, self._most)

    def _new_record(self, count: int) -> Record:
        """Make room for `count` records."""
        squares = self._record.row_squares
        if len(squares) < count:
            squares = np.zeros((count, self._batch))
        return gauges.new_record(count, len(self.layout.plan), int(self.starts[-1]), squares)

    def note(self, record: Record, first: int, done: int, losses: Array, rates: Array) -> None:
        """Keep the records of the last chunk, of which `done` steps were done, `first` before it.

        A step that failed is kept as far as it came.
        """
        if record is self._unrecorded:
            return
        at = self._at[self._at <= done]
        if len(at):
            self._used += len(at)
            self._pending.append((first + 1 + at, losses[at], rates[at], at >= done))

    def _flush(self) -> None:
        """Keep what has come together since this was last done."""
        if not self._pending:
            return
        step, loss, rate, failed = (
            np.concatenate(each) for each in zip(*self._pending, strict=True)
        )
        self._pending.clear()
        forward, moves, norms, bins, squares = (
            array[self._taken : self._used] for array in self._record[2:]
        )
        self._taken = self._used
        if failed.any():  # then there are no moves
            plain(moves)[failed] = norms[failed] = np.nan
        last_rows = self._rows - (self.steps_per_epoch - 1) * self._batch
        rows = np.where(step % self.steps_per_epoch == 0, last_rows, self._batch)
        arrays = {
            "step": step,
            "rows": rows,
            "loss": loss,
            "learning_rate": rate,
            "norm": norms,
            "row_norms": describe(squares, rows),
            "forward": plain(forward),
            "moves": plain(moves),
            "bins": bins,
        }
        for name, array in arrays.items():
            self._kept.setdefault(name, []).append(array)

    def arrays(self) -> dict[str, Array]:
        """Give the records so far by step, each step once, without those left out again.

        step, rows (records,): its number and how many rows it had; loss, learning_rate, norm
        (records,): the last the gradient's squared norm before clipping; row_norms (records, 7):
        what `describe` gives; forward, moves (records, layers, fields): the sums of
        `gauges.ROWS` and `gauges.MOVES`; bins (records, entries): the bins of the histograms'
        entries. They are the recorder's own, which are not to be written to.
        """
        self._flush()
        if not self._kept:
            return self.nothing()
        step, places = np.unique(np.concatenate(self._kept["step"]), return_index=True)
        if self.recording.steps == "default":
            spacing = self.recording.distance(int(step[-1]))
            usual = [self.recording.next_after(each - 1) == each for each in step.tolist()]
            # Other steps were recorded because a failure followed.
            places = places[(step <= FIRST) | ((step - 1) % spacing == 0) | ~np.array(usual)]
        arrays = {name: np.concatenate(parts)[places] for name, parts in self._kept.items()}
        self.restore(arrays)
        return arrays

    def nothing(self) -> dict[str, Array]:
        """Give the arrays of no records at all."""
        layers = len(self.layout.plan)
        return {
            **{name: np.empty(0, np.int64) for name in ("step", "rows")},
            **{name: np.empty(0) for name in ("loss", "learning_rate", "norm")},
            "row_norms": np.empty((0, 2 + len(QUANTILES))),
            "forward": np.empty((0, layers, len(gauges.ROWS.names or ()))),
            "moves": np.empty((0, layers, len(gauges.MOVES.names or ()))),
            "bins": np.empty((0, self.starts[-1]), np.uint8),
        }

    def add(self, other: Recorder) -> None:
        """Take over the records of another recorder; those there already stay."""
        self._flush()
        for name, array in other.arrays().items():
            self._kept.setdefault(name, []).append(array)

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take up the records of a run that was interrupted."""
        self._kept = {name: [array] for name, array in arrays.items()}


def plain(sums: Array) -> Array:
    """View structured sums, (records, layers) or (layers,), as numbers, their fields last."""
    return sums.view(np.float64).reshape(*sums.shape, -1)


def note_move(record: Record, job: Job, layout: Layout, before: Array, gradient: Array) -> None:
    """Note a move of theta that was made outside of the compiled loop; all (parameters,)."""
    if not len(record.at):
        return
    place = record.first if record.at[0] == 0 else KEPT
    move, room = job.theta - before, job.gauges
    vectors = {
        "final": (gradient, gradient), "along": (gradient, room.gradient),
        "before": (room.gradient, room.gradient), "move": (move, move),
        "move_along": (move, room.move), "move_before": (room.move, room.move),
    }  # fmt: skip
    for part in layout.parts if place >= 0 else ():
        span = slice(part.start, part.stop)
        total = record.moves[place, part.layer]
        for name, (one, other) in vectors.items():
            total[name] += np.dot(one[span].astype(np.float64), other[span].astype(np.float64))
        if part.kind == WEIGHT:
            total["w"] += np.square(before[span], dtype=np.float64).sum()
            total["move_w"] += np.square(move[span], dtype=np.float64).sum()
    room.gradient[:], room.move[:] = gradient, move


def limits(network: BuiltNetwork) -> Array:
    """Give |phi'| below which each layer's activation is flat."""
    activations = [*network.network.activations(), network.output_activation]
    return np.array([gauges.FLAT * gauges.steepest(each) for each in activations])
