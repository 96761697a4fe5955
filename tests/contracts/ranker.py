"""What every ranking model and loss keeps: it learns a planted pattern, respects its seed, is exported as it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config import RankingConfig
from pipelines.errors import ConfigError
from pipelines.models.export import load_onnx, run_onnx
from pipelines.models.rankers.catalogue import LOSSES, RANKERS, chosen_ranker, ranker_class, ranking_loss
from pipelines.models.ranking import TrainedRanker, export_ranker
from pipelines.models.ranking_metrics import list_ndcg
from tests.support.pairs import Pairs, made_pairs, outputs, told

# One epoch, so that what is trained does not depend on what it is judged by.
SMALL = RankingConfig(
    embedding_dim=4, hidden_units=(16,), batch_size=64, epochs=1, learning_rate=0.02, num_oov_buckets=2
)


class RankerContract:
    """Subclass with names of the catalogue, and settings that make the model small.

    Attributes:
        model: of `RANKERS`.
        loss: of `LOSSES`.
        settings: over the model's defaults.
        learns: nDCG of the network alone, at least; retrieval, which is noise here, has 0.53.
    """

    model: ClassVar[str]
    loss: ClassVar[str] = "logistic"
    settings: ClassVar[dict[str, Any]] = {}
    learns: ClassVar[float] = 0.78

    @classmethod
    def config(cls) -> RankingConfig:
        return SMALL.model_copy(update={"model": cls.model, "loss": cls.loss, "settings": cls.settings})

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls) -> Pairs:
        return made_pairs(3_000)

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, pairs: Pairs) -> TrainedRanker:
        return pairs.ranker(cls.config())

    @pytest.fixture(scope="class")
    @classmethod
    def graph(cls, trained: TrainedRanker, pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Any:
        """What serving runs."""
        folder = tmp_path_factory.mktemp(cls.__name__)
        export_ranker(trained.served, folder, pairs.validation)
        return load_onnx(folder / "ranker.onnx")

    def test_the_cards_say_what_model_and_loss_are(self) -> None:
        for card, names in ((ranker_class(self.model).card, RANKERS), (ranking_loss(self.loss).card, LOSSES)):
            assert card.name in (self.model, self.loss)
            assert card.name in names
            assert all((card.family, card.needs, card.good_at, card.source))

    def test_it_learns_a_planted_pattern_and_says_so(self, trained: TrainedRanker) -> None:
        assert trained.metrics["validation_retrieval_ndcg_at_10"] < 0.65
        assert trained.metrics["validation_network_ndcg_at_10"] >= self.learns
        assert trained.metrics["validation_auc"] > 0.7
        assert trained.use_for_ordering

    def test_its_probabilities_are_calibrated(self, trained: TrainedRanker, pairs: Pairs) -> None:
        found, label = outputs(trained, pairs.validation)["probability"], pairs.validation.label
        assert found.shape == label.shape
        assert found.mean() == pytest.approx(label.mean(), abs=0.02)
        assert trained.metrics["validation_calibration_error"] < 0.1

    def test_expected_values_are_in_the_unit_of_the_events(self, trained: TrainedRanker, pairs: Pairs) -> None:
        value, wanted = outputs(trained, pairs.validation)["expected_value"], pairs.validation.value
        known = np.isfinite(wanted)
        assert np.abs(value[known] - wanted[known]).mean() < 0.35

    def test_equal_seeds_give_equal_networks_and_one_of_no_use_has_no_say(
        self, trained: TrainedRanker, pairs: Pairs
    ) -> None:
        informed = told(pairs.validation)
        again = pairs.ranker(self.config(), validation=informed)
        found, expected = outputs(again, informed), outputs(trained, informed)
        np.testing.assert_array_equal(found["expected_value"], expected["expected_value"])
        assert not again.use_for_ordering
        assert again.metrics["calibration_network"] == 0
        assert list_ndcg(found["probability"], informed).min() == 1

    def test_settings_survive_a_round_trip_and_refuse_what_they_do_not_know(self) -> None:
        kind = ranker_class(self.model)
        settings = kind.Settings(**self.settings)
        assert kind.Settings.model_validate_json(settings.model_dump_json()) == settings
        assert all(field.description for field in kind.Settings.model_fields.values())
        with pytest.raises(ConfigError, match=f"do not fit model '{self.model}': no_such_setting"):
            chosen_ranker(self.config().model_copy(update={"settings": {"no_such_setting": 1}}))

    def test_saved_and_loaded_it_gives_equal_outputs(
        self, trained: TrainedRanker, pairs: Pairs, tmp_path: Path
    ) -> None:
        import keras

        trained.served.save(tmp_path / "model.keras")
        loaded = replace(trained, served=keras.saving.load_model(tmp_path / "model.keras"))
        expected = outputs(trained, pairs.validation)
        for name, values in outputs(loaded, pairs.validation).items():
            np.testing.assert_array_equal(values, expected[name])

    def test_the_exported_graph_gives_what_keras_gives(self, graph: Any, trained: TrainedRanker, pairs: Pairs) -> None:
        expected = outputs(trained, pairs.validation)
        found = run_onnx(graph, pairs.validation.inputs(np.arange(len(pairs.validation.label))))
        assert set(found) == set(expected) == {"probability", "expected_value"}
        for name, values in found.items():
            np.testing.assert_allclose(values, expected[name], atol=1e-4, err_msg=name)

    def test_the_order_of_candidates_changes_no_score(self, graph: Any, pairs: Pairs) -> None:
        order = np.random.default_rng(0).permutation(30)
        together, shuffled = (run_onnx(graph, pairs.validation.inputs(rows)) for rows in (np.arange(30), order))
        for name, values in shuffled.items():
            np.testing.assert_allclose(values, together[name][order], rtol=1e-5, atol=1e-6)

    def test_no_candidate_is_no_score(self, graph: Any, pairs: Pairs) -> None:
        for values in run_onnx(graph, pairs.validation.inputs(np.arange(0))).values():
            assert values.shape == (0,)

    def test_an_unseen_user_and_item_get_finite_scores(self, graph: Any, pairs: Pairs) -> None:
        unseen = pairs.encoder.encode(pa.table({"user_id": ["nobody"], "item_id": ["nothing"]}))
        for values in run_onnx(graph, unseen).values():
            assert np.isfinite(values).all()
