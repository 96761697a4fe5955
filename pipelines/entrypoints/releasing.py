"""From models to a release that is served."""

from pipelines.contracts import Comparison, Evaluation, IndexManifest, Release
from pipelines.entrypoints.adapters import Json, as_json, open_feature_store, open_model_stores, open_registry
from pipelines.entrypoints.configuring import read_config


def build_index(config: str, evaluation: Json) -> Json:
    """Embed the item corpus, index it, measure the index's recall; returns an IndexManifest."""
    from pipelines.steps.build_index import build_index as step

    c = read_config(config)
    stores = {"feature_store": open_feature_store(c), **open_model_stores(c)}
    return as_json(step(Evaluation(**evaluation), config=c.index, seed=c.seed, **stores))


def assemble_release(config: str, evaluation: Json, index: Json) -> Json:
    """Bind towers, ranker, index and item features into one registered Release."""
    from pipelines.steps.assemble_release import assemble_release as step

    c = read_config(config)
    refs = (Evaluation(**evaluation), IndexManifest(**index))
    stores = open_model_stores(c)
    return as_json(step(*refs, config=c.rules, num_candidates=c.evaluation.num_candidates, **stores))


def compare_release(config: str, release: Json) -> Json:
    """Hold a release against the champion and popularity; returns a Comparison."""
    from pipelines.steps.compare_release import compare_release as step

    c = read_config(config)
    return as_json(step(Release(**release), config=c.promotion, registry=open_registry(c)))


def promote_release(config: str, comparison: Json) -> Json:
    """Move the alias `champion`, wait until serving answers from it, smoke-test it; returns a Promotion."""
    from pipelines.steps.promote_release import promote_release as step

    c = read_config(config)
    where: Json = {"serving_url": c.serving_url, "lock_file": c.home / "run" / "promotion.lock"}
    return as_json(step(Comparison(**comparison), config=c.promotion, registry=open_registry(c), **where))
