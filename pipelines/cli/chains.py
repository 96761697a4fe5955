"""`tandem ingest-events`, `drain-events`, `materialize-features`, `train-models`: those DAGs without Airflow.

Each goes on from what the one before published for the dataset, as the DAGs do when a person triggers them.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_config_options, add_training_options, confine, resolve

Json = dict[str, Any]


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    ingest = _add(commands, "ingest-events", _ingest_events, "read, validate and append one raw partition")
    ingest.add_argument("--partition", default="all", help="`all`, or arrival dates START/END")
    features = _add(commands, "materialize-features", _materialize_features, "compute features and bring them online")
    features.add_argument("--as-of", default="", metavar="MOMENT", help="use only what was known before it")
    _add(commands, "drain-events", _drain_events, "bring served events of a data set into the lake, exactly once")
    about = "train, evaluate and register both models on the newest features"
    add_training_options(_add(commands, "train-models", _train_models, about))
    one = _add(commands, "train", _train_models, f"{about}; MODEL of `tandem models` retrieves")
    one.add_argument("model", metavar="MODEL", help="retrieval model, as `tandem models` lists it")
    one.add_argument("--preset", help="settings that come with the model, such as quality")
    one.add_argument("--ranker", metavar="NAME", help="ranking model, as `tandem models` lists it; default: cross")
    one.add_argument("--ranking-loss", metavar="NAME", help="what it learns by, from the same list; default: logistic")
    add_training_options(one)


def _add(
    commands: Any, name: str, chain: Callable[[str, argparse.Namespace], Json], about: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    add_config_options(command)
    command.set_defaults(call=_call, chain=chain)
    return command


def _call(parsed: argparse.Namespace) -> int:
    from pipelines.platform.screens import print_json

    config = resolve(parsed)["config"]
    confine(config)
    print_json(parsed.chain(config, parsed))
    return 0


def _ingest_events(config: str, parsed: argparse.Namespace) -> Json:
    raw = _step("read_partition", config, partition=parsed.partition)
    validated = _step("validate_partition", config, raw=raw)
    return _published("events", config, "ingested", _step("append_partition", config, validated=validated))


def _drain_events(config: str, parsed: argparse.Namespace) -> Json:
    drain = _step("seal_events", config)
    if drain["batch"] is None:
        return drain
    validated = _step("validate_partition", config, raw=drain["raw"], as_of=drain["batch"]["until"])
    ingested = _step("append_partition", config, validated=validated)
    ingested = _step("finish_drain", config, drain=drain, ingested=ingested)
    return _published("events", config, "ingested", ingested, served=True)


def _materialize_features(config: str, parsed: argparse.Namespace) -> Json:
    snapshot = _step("take_snapshot", config, as_of=parsed.as_of)
    computed = _step("compute_features", config, snapshot=snapshot)
    return _published("features", config, "features", _step("materialize_online", config, features=computed))


def _train_models(config: str, parsed: argparse.Namespace) -> Json:
    features = entrypoints.receive("features", None, {"dataset": entrypoints.read_config(config).dataset})["features"]
    training_set = _step("build_training_set", config, features=features)
    retrieval = _step("train_retrieval", config, training_set=training_set)
    _step("check_leakage", config, training_set=training_set, retrieval=retrieval)
    ranking_set = _step("build_ranking_set", config, training_set=training_set, retrieval=retrieval)
    pair = {"retrieval": retrieval, "ranking": _step("train_ranking", config, ranking_set=ranking_set)}
    return _published(
        "models", config, "evaluation", _step("evaluate_models", config, training_set=training_set, **pair)
    )


def _step(name: str, config: str, **arguments: Any) -> Json:
    sys.stderr.write(f"{name} ...\n")
    result: Json = getattr(entrypoints, name)(config, **arguments)
    return result


def _published(asset: str, config: str, name: str, reference: Json, **more: Any) -> Json:
    """Publish as the DAG does; returns the reference itself, which the next single step reads."""
    entrypoints.publish(asset, {"config": config, name: reference, **more}, f"command-{datetime.now(UTC).isoformat()}")
    return reference
