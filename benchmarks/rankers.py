"""Ranking models and losses on one ranking set: which orders the validation window's candidates best?

`python benchmarks/rankers.py --source movielens-100k --data FOLDER` brings the source through lake, features and
retrieval once, then trains every model by the default loss and the default model by every loss. Metrics are of whole
candidate lists of the validation window; the test window is not looked at. `--queries` trains on fewer than the
configuration says.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipelines import entrypoints
from pipelines.config import RankingConfig
from pipelines.contracts import RankingSet, TrainingSet
from pipelines.entrypoints.adapters import open_artifacts, open_feature_store
from pipelines.models.rankers.catalogue import LOSSES, RANKERS
from tests.support.memory_registry import MemoryRegistry

DEFAULT = RankingConfig()
SHOWN = (
    "validation_ndcg_at_10",
    "validation_network_ndcg_at_10",
    "validation_value_ndcg_at_10",
    "validation_auc",
    "validation_calibration_error",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="synthetic")
    parser.add_argument("--data")
    parser.add_argument("--home", type=Path, help="folder to keep; what is there is not made again")
    parser.add_argument("--queries", type=int, default=DEFAULT.num_queries)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], metavar="MODEL:LOSS")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = asked.home or Path(scratch) / "home"
        train, pairs = prepared(asked, home, Path(scratch) / "registry")
        print(f"{pairs.num_rows['train']:,} training pairs, {pairs.num_rows['validation']:,} validation pairs")
        print("| model | loss | " + " | ".join(SHOWN) + " | gain by the network | orders | processor seconds |")
        for model, loss in chosen(asked.only):
            config = DEFAULT.model_copy(update={"model": model, "loss": loss, "num_queries": asked.queries})
            show(model, loss, [measured(train, pairs, config, seed) for seed in range(asked.seeds)])


def prepared(asked: argparse.Namespace, home: Path, registry_folder: Path) -> tuple[Callable[..., Any], RankingSet]:
    """Return what trains a ranker, and the pairs that all of them learn from."""
    from pipelines.steps.build_ranking_set import build_ranking_set
    from pipelines.steps.train_ranking import train_ranking
    from pipelines.steps.train_retrieval import train_retrieval

    settings = {"home": str(home)}
    uri = entrypoints.resolve_params({"source": asked.source, "data": asked.data, "settings": settings})["config"]
    raw = entrypoints.read_partition(uri, partition="all")
    entrypoints.append_partition(uri, validated=entrypoints.validate_partition(uri, raw=raw))
    features = entrypoints.compute_features(uri, snapshot=entrypoints.take_snapshot(uri, as_of=""))
    labels = TrainingSet(**entrypoints.build_training_set(uri, features=features))
    config = entrypoints.read_config(uri)
    stores: dict[str, Any] = {"registry": MemoryRegistry(registry_folder), "artifacts": open_artifacts(config)}
    retrieval = train_retrieval(labels, config=config.retrieval, seed=config.seed, **stores)
    chosen = DEFAULT.model_copy(update={"num_queries": asked.queries})
    store = open_feature_store(config)
    pairs = build_ranking_set(labels, retrieval, config=chosen, feature_store=store, seed=config.seed, **stores)
    return lambda *arguments, **options: train_ranking(*arguments, **options, **stores), pairs


def chosen(only: list[str]) -> Iterator[tuple[str, str]]:
    """Yield model and loss of each row."""
    if only:
        yield from (tuple(pair.split(":")) for pair in only)  # type: ignore[misc]  # two parts
        return
    yield from ((model, DEFAULT.loss) for model in RANKERS)
    yield from ((DEFAULT.model, loss) for loss in LOSSES if loss != DEFAULT.loss)


def measured(
    train: Callable[..., Any], pairs: RankingSet, config: RankingConfig, seed: int
) -> tuple[dict[str, float], float]:
    """Return validation metrics, and the processor seconds of training, calibration and export."""
    begun = time.process_time()
    return train(pairs, config=config, seed=seed).metrics, time.process_time() - begun


def show(model: str, loss: str, runs: list[tuple[dict[str, float], float]]) -> None:
    """Print a row, means over seeds."""
    mean = {name: statistics.mean(metrics[name] for metrics, _ in runs) for name in runs[0][0]}
    gain = f"{mean['validation_gain']:+.4f} ± {mean['validation_gain_error']:.4f}"
    cells = [model, loss, *(f"{mean[name]:.4f}" for name in SHOWN), gain, f"{mean['use_for_ordering']:.2f}"]
    print("| " + " | ".join([*cells, f"{statistics.mean(seconds for _, seconds in runs):.0f}"]) + " |", flush=True)


if __name__ == "__main__":
    main()
