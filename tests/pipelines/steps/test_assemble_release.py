import pytest

from pipelines.config import IndexConfig, RulesConfig
from pipelines.contracts import RECOMMENDER
from pipelines.errors import IntegrityError
from pipelines.release.manifest import verify_release
from pipelines.steps.assemble_release import assemble_release
from pipelines.steps.build_index import build_index
from pipelines.stores.artifacts import LocalArtifacts
from pipelines.stores.base import RunRecord
from tests.support.memory_registry import MemoryRegistry
from tests.support.tiny_release import evaluation, items_table, write_models, write_training_set


class Items:
    def items_at(self, moment, *, features):
        return items_table(60)


@pytest.fixture
def parts(tmp_path):
    """Evaluation, index, registry and artifacts, as the steps before leave them."""
    items = items_table(60)
    registry = MemoryRegistry(tmp_path / "registry")
    models = [
        registry.register(name, bundle, key="k", dataset="tiny", record=RunRecord("run"))
        for name, bundle in zip(("retrieval", "ranking"), write_models(tmp_path / "models", items), strict=True)
    ]
    refs = evaluation(write_training_set(tmp_path / "training", items), *models)
    stores = {"registry": registry, "artifacts": LocalArtifacts(tmp_path / "runs")}
    index = build_index(refs, config=IndexConfig(), feature_store=Items(), seed=7, **stores)
    return refs, index, stores


def assemble(parts, **changes):
    refs, index, stores = parts
    arguments = {"config": RulesConfig(), "num_candidates": 20, **stores, **changes}
    return assemble_release(refs, index, **arguments)


def test_the_registered_release_verifies(parts):
    refs, _, stores = parts
    release = assemble(parts)
    folder = stores["registry"].download(release.model)
    manifest = verify_release(folder)
    assert release.model.name == RECOMMENDER
    assert (manifest.retrieval, manifest.ranking) == (refs.retrieval, refs.ranking)
    assert manifest.index.retrieval_digest == refs.retrieval.digest
    assert manifest.as_of == refs.training_set.features.snapshot.as_of
    assert manifest.history_length == 5
    assert manifest.num_candidates == 20
    assert len(manifest.sample_users) == 20
    assert str(folder.parent) not in (folder / "release.json").read_text()


def test_metrics_and_tags_are_on_the_version(parts):
    release = assemble(parts)
    assert release.metrics["ndcg_at_10"] == 0.2
    assert release.metrics["popularity_ndcg_at_10"] == 0.1
    assert release.metrics["index_recall_at_50"] == 1.0
    assert release.model.metrics == release.metrics
    tags = parts[2]["registry"].records[RECOMMENDER, "1"].tags
    assert tags["tandem.snapshot_id"] == "s1"
    assert tags["tandem.training_set"] == "f" * 64


def test_again_it_is_the_same_version_and_another_rule_is_another(parts):
    first = assemble(parts)
    assert assemble(parts) == first
    assert assemble(parts, config=RulesConfig(max_per_category=2)).model.version == "2"


def test_being_measured_beside_a_champion_makes_no_new_version(parts):
    refs, index, stores = parts
    first = assemble(parts)
    beside = refs.model_copy(update={"metrics": {**refs.metrics, "champion": {"ndcg_at_10": 0.19}}})
    again = assemble((beside, index, stores))
    assert again.model == first.model
    assert again.metrics["champion_ndcg_at_10"] == 0.19


def test_an_index_of_another_retrieval_version_is_refused(parts):
    refs, index, stores = parts
    other = index.model_copy(update={"retrieval": refs.retrieval.model_copy(update={"version": "9"})})
    with pytest.raises(IntegrityError, match="retrieval version 9"):
        assemble((refs, other, stores))
    assert stores["registry"].find(RECOMMENDER, key="any") is None


def test_a_changed_index_is_refused(parts):
    _, index, stores = parts
    (stores["artifacts"].local(index.uri) / "index" / "vectors.npy").write_bytes(b"other")
    with pytest.raises(IntegrityError, match="expected"):
        assemble(parts)
