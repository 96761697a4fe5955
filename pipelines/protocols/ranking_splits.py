"""The ranking protocols' data: from a folder of published files to the test question and one to choose by."""

from pathlib import Path

import numpy as np

from pipelines.protocols.base import Parts
from pipelines.protocols.files import (
    Events,
    read_beauty,
    read_ml_1m,
    read_ml_1m_sequences,
    read_ml_1m_timed_sequences,
    read_ml_100k,
)
from pipelines.protocols.files import read_ml_100k_titles as read_titles
from pipelines.protocols.splits import (
    five_core_items,
    global_time,
    held_out,
    leave_one_out,
    stratified,
    tensorflow_shuffled,
)

TIME_QUANTILE = 0.9
STRATIFIED_SHARE = 0.75
STRATIFIED_SEED = 42
TENSORFLOW_SEED = 42
TUTORIAL_TRAIN, TUTORIAL_TEST = 80_000, 20_000


def ml_1m_leave_one_out(data: Path, seed: int) -> Parts:
    """Ask for each user's last item of the sequences file; to choose, for the one before."""
    test = leave_one_out(read_ml_1m_sequences(data).sequences())
    return Parts(test, leave_one_out(test.train))


def ml_1m_leave_one_out_timed(data: Path, seed: int) -> Parts:
    """Ask the same, telling when the item was asked for and when the earlier ones were."""
    test = leave_one_out(read_ml_1m_timed_sequences(data).sequences())
    return Parts(test, leave_one_out(test.train))


def beauty_leave_one_out(data: Path, seed: int) -> Parts:
    """Ask for each user's last item; to choose, for the one before."""
    test = leave_one_out(read_beauty(data).sequences())
    return Parts(test, leave_one_out(test.train))


def ml_1m_time_last(data: Path, seed: int) -> Parts:
    """Ask for the last item of each user after the 0.9 quantile of time; to choose, split the time before likewise."""
    return _ml_1m_time(data, successive=False)


def ml_1m_time_successive(data: Path, seed: int) -> Parts:
    """Ask for each item after the 0.9 quantile of time in turn; to choose, split the time before likewise."""
    return _ml_1m_time(data, successive=True)


def ml_100k_tutorial(data: Path, seed: int) -> Parts:
    """Split at random as TensorFlow Recommenders' tutorials do; films of one title are one item, nothing is removed."""
    events = read_ml_100k(data)
    titles, codes = np.unique(read_titles(data), return_inverse=True)
    titled = Events(events.users, codes[events.items], events.num_users, len(titles), events.times, events.values)
    shuffled = titled.take(tensorflow_shuffled(len(titled), global_seed=TENSORFLOW_SEED))
    train = shuffled.take(np.arange(TUTORIAL_TRAIN))
    whole = shuffled.take(np.arange(TUTORIAL_TRAIN + TUTORIAL_TEST))
    test = np.arange(len(whole)) >= TUTORIAL_TRAIN
    inner = np.arange(len(train)) >= len(train) * TUTORIAL_TRAIN // len(whole)
    return Parts(held_out(whole, test, remove_seen=False), held_out(train, inner, remove_seen=False))


def ml_100k_stratified(data: Path, seed: int) -> Parts:
    """Split 75/25 within each user as Microsoft Recommenders do; to choose, split the training part likewise."""
    events = read_ml_100k(data)
    test = stratified(events, STRATIFIED_SHARE, STRATIFIED_SEED)
    train = events.take(~test)
    inner = stratified(train, STRATIFIED_SHARE, STRATIFIED_SEED)
    return Parts(held_out(events, test, remove_seen=True), held_out(train, inner, remove_seen=True))


def _ml_1m_time(data: Path, *, successive: bool) -> Parts:
    rows = five_core_items(read_ml_1m(data)).sequences()
    test = global_time(rows, TIME_QUANTILE, successive=successive)
    return Parts(test, global_time(test.train, TIME_QUANTILE, successive=successive))
