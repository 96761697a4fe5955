import json

import pytest

from pipelines.config import IndexConfig, RulesConfig
from pipelines.contracts import RECOMMENDER
from pipelines.errors import ConfigError, IntegrityError
from pipelines.release.manifest import ReleaseManifest, verify_release
from pipelines.steps import assemble_release as step
from pipelines.steps.assemble_release import assemble_release
from pipelines.steps.build_index import build_index
from pipelines.stores.artifacts import LocalArtifacts
from pipelines.stores.base import RunRecord
from pipelines.stores.declared import declared_services
from pipelines.stores.feature_store import SERVING_SERVICE
from tests.support.memory_registry import MemoryRegistry
from tests.support.tiny_release import evaluation, items_table, write_models, write_training_set


class Items:
    def items_at(self, moment, *, features):
        return items_table(60)


@pytest.fixture
def parts(tmp_path):
    """Evaluation, index, registry and artifacts, as the steps before leave them."""
    return made(tmp_path)


def made(tmp_path, **services):
    """The parts, of models trained with the feature services that are named; None takes the name away."""
    items = items_table(60)
    registry = MemoryRegistry(tmp_path / "registry")
    bundles = dict(zip(("retrieval", "ranking"), write_models(tmp_path / "models", items), strict=True))
    for role, service in services.items():
        file = bundles[role] / "bundle.json"
        told = json.loads(file.read_text()) | {"feature_service": service}
        file.write_text(json.dumps({name: value for name, value in told.items() if value is not None}))
    models = [
        registry.register(name, bundle, key="k", dataset="tiny", record=RunRecord("run"))
        for name, bundle in bundles.items()
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


def manifest_of(parts):
    return verify_release(parts[2]["registry"].download(assemble(parts).model))


def test_a_release_names_the_services_its_models_were_trained_with(tmp_path):
    named = manifest_of(made(tmp_path, retrieval="retrieval_v7", ranking="ranking_v9")).feature_services
    assert named == {"retrieval": "retrieval_v7", "ranking": "ranking_v9", "user": SERVING_SERVICE}


@pytest.mark.parametrize("role", ["retrieval", "ranking"])
def test_a_model_that_does_not_say_what_it_was_trained_with_is_refused(tmp_path, role):
    with pytest.raises(IntegrityError, match=f"version 1 of '{role}' does not give feature_service.*tandem train"):
        assemble(made(tmp_path, **{role: None}))


def test_another_serving_service_is_another_release_that_names_it(parts, monkeypatch):
    assemble(parts)
    monkeypatch.setattr(step, "SERVING_SERVICE", "serving_user_v1")
    assert manifest_of(parts).feature_services["user"] == "serving_user_v1"
    assert assemble(parts).model.version == "2"


def test_a_serving_service_that_is_not_declared_is_named(parts, monkeypatch):
    monkeypatch.setattr(step, "SERVING_SERVICE", "serving_user_v99")
    with pytest.raises(ConfigError, match=r"'serving_user_v99' is not declared.*services\.py"):
        assemble(parts)


def test_a_release_keeps_what_serving_reads_of_a_user_by_name_and_type(parts):
    of_users = manifest_of(parts).user_features
    assert of_users == declared_services()[SERVING_SERVICE]
    assert of_users["seen_items"] == "list<string>"
    assert of_users["num_values"] == "int64"


def test_a_manifest_of_before_that_is_read(parts):
    older = json.loads(manifest_of(parts).model_dump_json())
    del older["user_features"]
    assert ReleaseManifest.model_validate(older).user_features == {}
