"""The rows of epochs in their order: of one, of several at once, and again."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import naive
from downslope.batches import DRAWN, ROWS_AHEAD, Batches
from downslope.parts import Descent


def descent(batch: int = 10, seed: int = 3, shuffle: bool = True) -> Descent:
    return Descent(batch=batch, seed=seed, shuffle=shuffle)


@pytest.mark.parametrize("rows", [1, 2, 23, DRAWN, DRAWN + 1, DRAWN + 2, 3 * DRAWN + 7])
def test_each_epoch_has_its_own_order_however_many_are_arranged(rows: int) -> None:
    training = np.arange(5, 5 + 2 * rows, 2)
    batches = Batches(training, descent(batch=max(1, rows // 3)))
    expected = [naive.shuffle_naively(training, 3, epoch) for epoch in range(7)]
    if rows == 1:
        expected = expected[:1]  # one batch: its order is of no account
    for first, epochs in ((0, 1), (0, 3), (3, 4), (2, 2), (6, 1)):
        order = batches.arrange(first, epochs)
        assert order.flags.c_contiguous
        assert order is batches.order
        wanted = expected[:1] if rows == 1 else expected[first : first + epochs]
        assert order.reshape(-1, rows).tolist() == wanted
        assert batches.epochs == len(wanted)


def test_a_batch_is_counted_in_rows() -> None:
    batches = Batches(np.arange(23), descent(5))
    assert (batches.rows, batches.size, batches.steps) == (23, 5, 5)
    assert batches.counts.tolist() == [5, 5, 5, 5, 3]


def test_an_order_is_arranged_again() -> None:
    batches = Batches(np.arange(23), descent())
    order = batches.arrange(4, 3).copy()
    again = batches.again()
    batches.arrange(7, 2)
    np.testing.assert_array_equal(again(), order)


def test_a_given_order_is_asked_for_once_an_epoch() -> None:
    asked: list[int] = []

    def given(epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        asked.append(epoch)
        return np.roll(np.arange(23), epoch)

    whole = Batches(np.arange(23), descent(23), given)  # one batch: the order is of no account
    assert whole.arrange(0).tolist() == whole.again()().tolist() == list(range(23))
    assert (asked, whole.most) == ([0], 1)
    asked.clear()
    batches = Batches(np.arange(23), descent(), given)
    assert batches.most == 1
    again = []
    for epoch in range(3):
        assert batches.arrange(epoch).tolist() == np.roll(np.arange(23), epoch).tolist()
        again.append(batches.again())
    assert [each()[0] for each in again] == [0, 22, 21]
    assert asked == [0, 1, 2]


def test_orders_that_are_all_the_same_are_held_once() -> None:
    for batches in (
        Batches(np.arange(23), descent(shuffle=False)),
        Batches(np.arange(23), descent(batch=40)),
    ):
        assert batches.in_order
        assert batches.most == sys.maxsize
        assert batches.arrange(0, 1000) is batches.order
        assert (batches.epochs, batches.memory, len(batches.order)) == (1, 0, 23)


def test_long_epochs_come_one_by_one() -> None:
    short, long = (Batches(np.arange(rows), descent()) for rows in (1000, ROWS_AHEAD))
    assert short.most == ROWS_AHEAD // 1000
    assert long.most == 1
    short.arrange(0, short.most)
    assert short.memory <= 8 * ROWS_AHEAD
