"""What every retriever keeps: it learns a planted pattern, respects its seed, and survives settings and disk."""

import pickletools
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.errors import TrainingError
from pipelines.index.sparse_vectors import SPARSE_FILE, SparseVectors
from pipelines.inputs.numbers import cyclic
from pipelines.models.export import load_onnx, run_onnx
from pipelines.models.retrievers.base import Retriever, RunOptions, Validation
from pipelines.models.retrievers.catalogue import MODELS, retriever_class
from pipelines.models.retrievers.layout import Layout
from pipelines.models.sequences import Sequences
from pipelines.models.vectors import ITEM_TOWER, QUERY_TOWER, products

NUM_GROUPS, GROUP_SIZE, NUM_USERS, LENGTH = 4, 8, 80, 6
NUM_ITEMS = NUM_GROUPS * GROUP_SIZE
NUM_DEVICES = 2
DAY = 86_400
PLAIN = {".json", ".npz", ".keras", ".h5", ".onnx", ".parquet"}


def walks(num_users: int = NUM_USERS, *, seed: int = 0, length: int = LENGTH) -> Sequences:
    """Each user walks on through a circle of 8 items that is their own of 4: both group and order are to be learnt."""
    rng = np.random.default_rng(seed)
    group, start = np.arange(num_users) % NUM_GROUPS, rng.integers(0, GROUP_SIZE, num_users)
    steps = (start[:, None] + np.arange(length)) % GROUP_SIZE
    items = (group[:, None] * GROUP_SIZE + steps).ravel()
    times = (np.arange(num_users)[:, None] * 60 + np.arange(length) * DAY).ravel() + 1_600_000_000
    users = np.repeat(np.arange(num_users), length)
    values = np.full(len(items), 5.0)
    return Sequences.of(users, items, num_users=num_users, num_items=NUM_ITEMS, times=times, values=values)


def rated_walks() -> Sequences:
    """The walks, liked (4 or 5), after two items of the next circle that were not (1 or 2): values tell them apart."""
    liked, first = walks(), np.arange(NUM_USERS)
    other = (first[:, None] % NUM_GROUPS + 1) % NUM_GROUPS * GROUP_SIZE + (first[:, None] // NUM_GROUPS + [0, 3]) % 8
    users = np.concatenate([np.repeat(first, 2), liked.rows])
    items = np.concatenate([other.ravel(), liked.items])
    values = np.concatenate([1.0 + other.ravel() % 2, 4.0 + (liked.items + liked.rows) % 2])
    return Sequences.of(users, items, num_users=NUM_USERS, num_items=NUM_ITEMS, values=values)


def serving_layout(num_users: int, *, history_length: int = LENGTH + 3) -> Layout:
    """Return how serving numbers items, users and devices: 3 buckets for unseen items, 2 for others."""
    sizes = {"num_items": NUM_ITEMS, "num_users": num_users, "num_devices": NUM_DEVICES}
    return Layout(history_length=history_length, first_item=4, first_user=3, first_device=3, **sizes)


def served_inputs(queries: Sequences, layout: Layout) -> dict[str, np.ndarray]:
    """Return the arrays serving asks with: an unseen item stands in each history, its newest but one."""
    history = np.zeros((len(queries), layout.history_length), dtype=np.int32)
    known = queries.padded(layout.history_length - 1)
    history[:, :-2] = known[:, :-1] + layout.first_item
    history[:, -1] = known[:, -1] + layout.first_item
    history[history == layout.first_item - 1] = 0
    history[:, -2] = 2
    users = np.where(queries.users < 0, 1, queries.users + layout.first_user).astype(np.int32)
    return {
        "history": history,
        "user": users,
        "attributes": np.zeros((len(queries), 2), np.int32),
        **served_context(queries, layout),
    }


def served_context(queries: Sequences, layout: Layout) -> dict[str, np.ndarray]:
    """Return clock and device as serving encodes them; nothing is known of them where queries do not say."""
    codes = np.full((len(queries), 3), -1) if queries.asked_in is None else queries.asked_in.codes
    hour, weekday = 6 * codes[:, 0] + 3.0, 4 * codes[:, 1] + 2.0  # one of those that the condition stands for
    clock = [cyclic(np.where(codes[:, 0] < 0, np.nan, hour), 24), cyclic(np.where(codes[:, 1] < 0, np.nan, weekday), 7)]
    numbers = np.concatenate([np.ones((len(queries), 2), np.float32), *clock], axis=1)
    return {
        "query_numbers": numbers,
        "device": np.where(codes[:, 2] < 0, 1, codes[:, 2] + layout.first_device).astype(np.int32),
    }


def served_scores(folder: Path, queries: Sequences, layout: Layout) -> np.ndarray:
    """Return scores of all numbers of items, seen or not, by what was exported: `[num_queries, num_numbers]`."""
    vectors = run_onnx(load_onnx(folder / QUERY_TOWER), served_inputs(queries, layout))
    numbers = np.arange(layout.first_item + layout.num_items, dtype=np.int32)
    items: Any
    if (folder / SPARSE_FILE).exists():
        items = SparseVectors.load(folder / SPARSE_FILE).take(numbers)
    else:
        (items,) = run_onnx(load_onnx(folder / ITEM_TOWER), {"item": numbers}).values()
    (found,) = vectors.values()
    return products(found, items)


class RetrieverContract:
    """Subclass with `name`, as in the catalogue, and settings that make the model small and quick.

    Attributes:
        name: of the model.
        settings: over the model's defaults.
        learns: least share of queries whose next item is among the best two of those not seen yet; by chance 8 %.
    """

    name: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}
    learns: ClassVar[float] = 0.8
    seed: ClassVar[int] = 3

    def train(self) -> Sequences:
        """Return what the model is fitted on."""
        return walks()

    def model(self, **over: Any) -> Retriever:
        """Return the model, not fitted."""
        kind = retriever_class(self.name)
        return kind(kind.Settings(**self.settings | over))

    def fitted_on(self, train: Sequences, seed: int, **over: Any) -> Retriever:
        model = self.model(**over)
        queries, targets = train.without_last()
        model.fit(train, options=RunOptions(seed=seed, device="cpu"), validation=Validation(queries, targets))
        return model

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Retriever:
        """The model fitted once a class."""
        case = cls()
        return case.fitted_on(case.train(), case.seed)

    @pytest.fixture
    def queries(self) -> Sequences:
        """Known users, one never seen, and one that never did anything."""
        known, _ = self.train().take(np.arange(6)).without_last()
        users = known.users.copy()
        users[4] = -1
        kept = known.keep(known.rows != 5)
        users[5] = -1
        return replace(kept, users=users)

    def test_the_card_says_what_the_model_is(self) -> None:
        card = retriever_class(self.name).card
        assert card.name == self.name
        assert self.name in MODELS
        assert all((card.family, card.needs, card.good_at, card.source))

    def test_it_learns_a_planted_pattern(self, fitted: Retriever) -> None:
        queries, targets = self.train().without_last()
        scores = np.where(queries.seen(), -np.inf, fitted.score(queries))
        own = scores[np.arange(len(queries)), targets][:, None]
        # Ties count worst case: an item that scores the same as the wanted one stands before it.
        rank = (scores >= own).sum(axis=1)
        assert (rank <= 2).mean() >= self.learns

    def test_equal_seeds_give_equal_scores(self, queries: Sequences) -> None:
        few = {"epochs": 2} if "epochs" in self.settings else {}
        first, again = (self.fitted_on(self.train(), self.seed, **few) for _ in range(2))
        np.testing.assert_array_equal(first.score(queries), again.score(queries))

    def test_settings_survive_a_round_trip_and_refuse_what_they_do_not_know(self) -> None:
        kind = retriever_class(self.name)
        settings = kind.Settings(**self.settings)
        assert kind.Settings.model_validate_json(settings.model_dump_json()) == settings
        assert all(field.description for field in kind.Settings.model_fields.values())
        with pytest.raises(ValidationError, match="no_such_setting"):
            kind.Settings(no_such_setting=1)

    def test_saved_and_loaded_it_gives_equal_scores(
        self, fitted: Retriever, queries: Sequences, tmp_path: Path
    ) -> None:
        fitted.save(tmp_path / "a")
        (tmp_path / "a").rename(tmp_path / "b")
        loaded = type(fitted).load(tmp_path / "b")
        assert loaded.settings == fitted.settings
        np.testing.assert_array_equal(loaded.score(queries), fitted.score(queries))

    def test_what_is_saved_holds_no_pickle(self, fitted: Retriever, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        assert {path.suffix for path in files} <= PLAIN
        for path in files:
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    assert all(array.dtype != object for array in arrays.values())
            assert not _is_pickle(path)

    def test_unseen_users_and_empty_histories_get_finite_scores(self, fitted: Retriever, queries: Sequences) -> None:
        assert queries.users[4] == -1
        assert queries.lengths[5] == 0
        scores = fitted.score(queries)
        assert scores.dtype == np.float32
        assert scores.shape == (len(queries), NUM_ITEMS)
        assert np.isfinite(scores).all()

    def test_no_query_is_no_score(self, fitted: Retriever, queries: Sequences) -> None:
        scores = fitted.score(queries.take(np.zeros(0, dtype=np.int64)))
        assert scores.shape == (0, NUM_ITEMS)
        assert scores.dtype == np.float32

    def test_a_score_does_not_depend_on_who_else_asks(self, fitted: Retriever, queries: Sequences) -> None:
        together = fitted.score(queries)
        order = np.array([5, 2, 4, 2])
        np.testing.assert_allclose(fitted.score(queries.take(order)), together[order], rtol=1e-4, atol=1e-5)

    def test_equal_histories_get_equal_scores(self, fitted: Retriever, queries: Sequences) -> None:
        """Of users the model has not seen; a known one may have tastes of their own."""
        twins = queries.take(np.array([2, 2, 3]))
        scores = fitted.score(replace(twins, users=np.full(3, -1, dtype=np.int32)))
        np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(scores, fitted.score(replace(twins, users=np.full(3, -1, dtype=np.int32))))

    def test_serving_knows_order_alone_and_is_answered(self, fitted: Retriever, queries: Sequences) -> None:
        bare = replace(queries, times=None, values=None, moments=None)
        assert np.isfinite(fitted.score(bare)).all()

    def test_what_serving_loads_scores_as_the_model_does(
        self, fitted: Retriever, queries: Sequences, tmp_path: Path
    ) -> None:
        bare = replace(queries, times=None, values=None, moments=None, segments=None)
        layout = serving_layout(len(self.train()))
        if not fitted.card.served:
            with pytest.raises(TrainingError, match="for comparison alone"):
                fitted.export(tmp_path, layout=layout)
            return
        fitted.export(tmp_path, layout=layout)
        served = served_scores(tmp_path, bare, layout)
        np.testing.assert_allclose(served[:, layout.first_item :], fitted.score(bare), rtol=1e-4, atol=1e-4)
        assert np.isfinite(served).all()

    def test_nothing_to_learn_from_is_refused(self) -> None:
        empty = self.train().keep(np.zeros(len(self.train().items), dtype=bool))
        with pytest.raises(TrainingError, match="0 interactions"):
            self.model().fit(empty, options=RunOptions(seed=1))


def _is_pickle(path: Path) -> bool:
    """Whether the whole file is one pickle that Python would load."""
    content = path.read_bytes()
    if not content.startswith(b"\x80"):
        return False
    try:
        return any(op.name == "STOP" for op, _, _ in pickletools.genops(content))
    except ValueError:
        return False
