import numpy as np
import pytest

from pipelines.models.packing import Steps, newest_windows, pack, training_windows
from pipelines.models.sequences import Sequences


@pytest.fixture
def sequences() -> Sequences:
    users = np.array([0, 0, 0, 2, 2])
    return Sequences.of(
        users, np.array([5, 6, 7, 8, 9]), num_users=4, num_items=10, times=np.array([100, 110, 150, 40, 41])
    )


def test_each_step_reads_the_item_before_it(sequences: Sequences):
    steps = Steps.learned_from(sequences)
    assert steps.inputs.tolist() == [0, 6, 7, 0, 9]
    assert steps.targets.tolist() == [5, 6, 7, 8, 9]
    assert steps.input_times.tolist() == [100, 100, 110, 40, 40]
    assert steps.target_times.tolist() == [100, 110, 150, 40, 41]


def test_a_query_asks_after_its_newest_item_at_its_moment(sequences: Sequences):
    shorter, _ = sequences.without_last()
    steps = Steps.asked_by(shorter)
    assert steps.offsets.tolist() == [0, 3, 4, 6, 7]
    assert steps.inputs.tolist() == [0, 6, 7, 0, 0, 9, 0]
    assert steps.target_times.tolist() == [100, 110, 150, 0, 40, 41, 0]


def test_windows_cover_every_step_once():
    counts = np.array([0, 3, 25, 7, 11])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    steps = Steps(offsets, np.zeros(46, np.int32), np.zeros(46, np.int32))
    starts, sizes = training_windows(steps, 7, np.random.default_rng(0))
    assert sizes.max() <= 7
    covered = np.concatenate([np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)])
    assert sorted(covered) == list(range(46))
    assert (
        np.searchsorted(offsets, starts, side="right") == np.searchsorted(offsets, starts + sizes - 1, "right")
    ).all()


def test_newest_windows_end_with_the_row():
    steps = Steps(np.array([0, 9, 11]), np.zeros(11, np.int32), np.zeros(11, np.int32))
    starts, sizes = newest_windows(steps, 4)
    assert (starts.tolist(), sizes.tolist()) == ([5, 9], [4, 2])


def test_packed_rows_hold_every_step_once_and_little_padding():
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 51, 1_000)
    starts = np.cumsum(sizes) - sizes
    packed = pack(starts, sizes, 50)
    present = packed.steps >= 0
    assert sorted(packed.steps[present]) == list(range(sizes.sum()))
    assert present.mean() > 0.98
    assert ((packed.windows > 0) == present).all()
    assert (packed.steps - packed.positions)[present].tolist() == starts[packed.windows[present] - 1].tolist()
    # A window stands in one row, unbroken.
    same = (packed.windows[:, 1:] == packed.windows[:, :-1]) & (packed.windows[:, 1:] > 0)
    assert (np.diff(packed.steps)[same] == 1).all()


def test_times_are_counted_from_the_start_of_their_window(sequences: Sequences):
    steps = Steps.learned_from(sequences)
    packed = pack(np.array([0, 3]), np.array([3, 2]), 6)
    arrays = steps.arrays(packed, timed=True)
    assert arrays["input_times"].tolist() == [[0, 0, 10, 0, 0, 0]]
    assert arrays["target_times"].tolist() == [[0, 10, 50, 0, 1, 0]]
    assert arrays["windows"].tolist() == [[1, 1, 1, 2, 2, 0]]


def test_rows_are_filled_with_padding():
    packed = pack(np.array([0]), np.array([3]), 3).rows(np.array([0]), size=2)
    assert packed.steps.tolist() == [[0, 1, 2], [-1, -1, -1]]
    assert packed.windows.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_nothing_to_pack_gives_no_rows():
    assert len(pack(np.zeros(0, np.int64), np.zeros(0, np.int64), 5)) == 0
