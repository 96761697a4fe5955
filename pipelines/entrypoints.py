"""With what: one short function a step, JSON in and JSON out, called by DAGs and the command line alike.

Each takes `config`, the URI of a resolved configuration (see `resolve_config`), and references as plain
dictionaries; it builds the adapters the step needs and returns the step's reference as a dictionary. Importing
this module is fast: everything heavy is imported inside the function that needs it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.config import Config, load_config, source_overrides
from pipelines.contracts import (
    Comparison,
    Drain,
    Evaluation,
    FeatureSet,
    IndexManifest,
    IngestedPartition,
    ModelVersion,
    RankingSet,
    RawPartition,
    Release,
    Snapshot,
    TrainingSet,
    ValidatedPartition,
)
from pipelines.errors import ConfigError
from pipelines.stores.artifacts import LocalArtifacts, content_key

Json = dict[str, Any]


def resolve_config(file: str | None = None, overrides: Mapping[str, Any] | None = None) -> Json:
    """Resolve the configuration once and write it down, so that every later step reads the same one.

    Args:
        file: YAML file; None reads `configs/default.yaml`.
        overrides: dotted key -> value, such as `{"seed": 11}`.

    Returns:
        `{"config": uri, "dataset": name}`; equal settings give an equal URI.
    """
    config = load_config(file, overrides)
    text = config.model_dump_json(indent=2)
    key = f"{config.dataset}/config/{content_key(config=config.model_dump(mode='json'))}"
    uri = _artifacts(config).publish(key, lambda folder: _write(folder / "config.json", text))
    return {"config": f"{uri}/config.json", "dataset": config.dataset}


def resolve_params(params: Mapping[str, Any]) -> Json:
    """Resolve the configuration of a trigger form or command line.

    Args:
        params: any of `source`, `data`, `mapping`, `config`, `dataset`, `seed` and `settings` (dotted key -> value);
            None and missing mean the configuration's own.

    Raises:
        ConfigError: a value is not legal, or `data` and `mapping` are given without the source they belong to.
    """
    source, data, mapping = (params.get(name) for name in ("source", "data", "mapping"))
    if source is None and (data or mapping):
        raise ConfigError("a data folder or mapping belongs to a source; choose one, such as movielens-1m")
    chosen = source_overrides(source, data, mapping) if source else {}
    named = {"dataset": params.get("dataset"), "seed": params.get("seed")}
    return resolve_config(params.get("config"), {**chosen, **named, **(params.get("settings") or {})})


def publish(asset: str, references: Json, run: str) -> Json:
    """Keep references for runs started by hand; returns whether they are news, as `{"changed": bool}`.

    Args:
        asset: name of the asset.
        references: what its consumers need, with the `config` they were made with.
        run: id of the run that publishes; one run always gets the same answer.
    """
    from pipelines.stores.published import Published

    c = read_config(references["config"])
    return {"changed": Published(c.home).put(asset, references, dataset=c.dataset, run=run)}


def last_published(asset: str) -> Json | None:
    """Return the references of an asset that were published last, of any dataset; None if there are none."""
    from pipelines.stores.published import Published

    return Published(load_config().home).find(asset)


def receive(asset: str, references: Json | None, params: Mapping[str, Any]) -> Json:
    """Return the references of an asset: those given by its event, or those published last.

    Args:
        asset: name of the asset.
        references: extra of the triggering asset event; None when a person triggered the run.
        params: `dataset` chooses whose; `settings` change the configuration from here on.

    Returns:
        The references, and under `served` whether served events alone started this.
    """
    from pipelines.stores.published import Published

    if references is None:
        references = Published(load_config().home).get(asset, params.get("dataset")) | {"served": False}
    given: Json = {"served": False} | references
    if params.get("settings"):
        given = given | {"config": resolve_config(given["config"], params["settings"])["config"]}
    return given


def read_partition(config: str, partition: str = "all") -> Json:
    """Read one raw partition from the source and stage it unchanged; returns a RawPartition."""
    from pipelines.steps.read_partition import read_partition as step

    c = read_config(config)
    where: Json = {"artifacts": _artifacts(c), "home": c.home}
    return _json(step(partition, dataset=c.dataset, source=c.source, seed=c.seed, **where))


def validate_partition(config: str, raw: Json, as_of: str = "") -> Json:
    """Check a raw partition against its contract; returns a ValidatedPartition.

    `as_of` is the ingestion's clock: rows after it are from the future. Empty: now.
    """
    from pipelines.steps.validate_partition import validate_partition as step

    c = read_config(config)
    clock = parse_as_of(as_of) or datetime.now(UTC)
    return _json(step(RawPartition(**raw), config=c.validation, lake=_lake(c), artifacts=_artifacts(c), as_of=clock))


def append_partition(config: str, validated: Json) -> Json:
    """Append accepted and quarantined rows to the lake exactly once; returns an IngestedPartition."""
    from pipelines.steps.append_partition import append_partition as step

    c = read_config(config)
    return _json(step(ValidatedPartition(**validated), lake=_lake(c), artifacts=_artifacts(c)))


def drainable(params: Mapping[str, Any]) -> Json | None:
    """Return the `config` of a data set whose served events wait: that of its last ingestion; None if none waits.

    Args:
        params: `dataset` chooses whose events; `settings` change the configuration.

    Raises:
        ConfigError: the data set, or each that has events waiting, was never ingested here.
    """
    from pipelines.stores.published import Published
    from pipelines.stores.served import UNASSIGNED

    c = load_config()
    log, published, chosen = _served(c, "events"), Published(c.home), params.get("dataset")
    waiting = [name for name in log.names() if log.waiting(name) and chosen in (None, name)]
    found = [published.find("events", None if name == UNASSIGNED else name) for name in waiting]
    given = next((references for references in found if references), None)
    if given is None and waiting:
        raise ConfigError(
            f"served events of {', '.join(waiting)} wait, but nothing of that was ingested on this platform; expected "
            "a lake to bring them to. Run `tandem ingest-events --dataset <name>` first"
        )
    return receive("events", given, params) if given else None


def seal_events(config: str) -> Json:
    """Claim the served events that wait and stage them as a raw partition; returns a Drain."""
    from pipelines.steps.seal_events import seal_events as step

    c = read_config(config)
    return _json(step(c.dataset, log=_served(c, "events"), lake=_lake(c), artifacts=_artifacts(c)))


def finish_drain(config: str, drain: Json, ingested: Json) -> Json:
    """Give up the served events that are in the lake now; returns the IngestedPartition."""
    from pipelines.steps.finish_drain import finish_drain as step

    c = read_config(config)
    where: Json = {"log": _served(c, "events"), "lake": _lake(c), "artifacts": _artifacts(c)}
    keep, keep_runs = timedelta(hours=c.drain.keep_hours), timedelta(hours=c.drain.keep_runs_hours)
    return _json(step(Drain(**drain), IngestedPartition(**ingested), keep=keep, keep_runs=keep_runs, **where))


def take_snapshot(config: str, as_of: str = "") -> Json:
    """Fix a moment and the lake versions that hold what was known then; returns a Snapshot.

    `as_of` empty: the moment after the newest row known.
    """
    from pipelines.steps.take_snapshot import take_snapshot as step

    c = read_config(config)
    return _json(step(c.dataset, lake=_lake(c), as_of=parse_as_of(as_of), delay_seconds=c.source.delay_seconds))


def compute_features(config: str, snapshot: Json) -> Json:
    """Compute the feature tables of a snapshot, write them to the lake and declare them; returns a FeatureSet."""
    from pipelines.steps.compute_features import compute_features as step

    c = read_config(config)
    where: Json = {"lake": _lake(c), "artifacts": _artifacts(c), "scratch": c.home / "tmp"}
    features = step(Snapshot(**snapshot), config=c.features, delay_seconds=c.source.delay_seconds, **where)
    _feature_store(c).apply()  # before two readers start at once: each would write the registry
    return _json(features)


def bitemporal_report(config: str, snapshot: Json) -> Json:
    """Compare features joined by event time alone with what was known; returns a BitemporalReport."""
    from pipelines.features.bitemporal import bitemporal_report as report

    c = read_config(config)
    work: Json = {"config": c.features, "delay_seconds": c.source.delay_seconds, "scratch": c.home / "tmp"}
    return _json(report(Snapshot(**snapshot), lake=_lake(c), **work))


def materialize_online(config: str, features: Json, since: str = "") -> Json:
    """Bring a feature set into the online store and audit it there; returns the FeatureSet with counts.

    The window written is from `since`, less `features.lookback_days`, to the set's moment. `since` empty: where the
    features of this data set that were published last end; without any, everything.
    """
    from pipelines.steps.materialize_online import materialize_online as step

    c = read_config(config)
    window: Json = {
        "since": parse_as_of(since, "since") or _last_window_end(c),
        "lookback": timedelta(days=c.features.lookback_days),
        "clock": datetime.now(UTC),
    }
    return _json(step(FeatureSet(**features), store=_feature_store(c), **window))


def export_features(config: str, features: Json, start: str, end: str) -> Json:
    """Write the feature rows of a window as files, one a view; returns a FeatureExport."""
    from pipelines.steps.export_features import export_features as step

    c = read_config(config)
    window = {"start": _moment(start, "start"), "end": _moment(end, "end")}
    return _json(step(FeatureSet(**features), **window, lake=_lake(c), artifacts=_artifacts(c)))


def build_training_set(config: str, features: Json) -> Json:
    """Join labels to the features known before them; returns a TrainingSet."""
    from pipelines.steps.build_training_set import build_training_set as step

    c = read_config(config)
    stores: Json = {"lake": _lake(c), "store": _feature_store(c), "artifacts": _artifacts(c)}
    work: Json = {"config": c.features, "delay_seconds": c.source.delay_seconds, "scratch": c.home / "tmp"}
    return _json(step(FeatureSet(**features), split=c.split, **stores, **work))


def rebuild_training_set(config: str, as_of: str, fingerprint: str, folder: str) -> Json:
    """Write a past training set into `folder` once more, byte for byte; returns its TrainingSet."""
    from pipelines.steps.rebuild_training_set import rebuild_training_set as step

    c = read_config(config)
    moment = _moment(as_of, "as_of")
    stores: Json = {"lake": _lake(c), "store": _feature_store(c)}
    work: Json = {"config": c.features, "scratch": c.home / "tmp"}
    return _json(step(moment, fingerprint=fingerprint, folder=Path(folder), **stores, **work))


def list_training_sets(config: str) -> list[Json]:
    """Return every training set that was built for the dataset, by `as_of`."""
    from pipelines.data.ledger import training_sets

    return [_json(entry.training_set) for entry in training_sets(_lake(read_config(config)))]


def compact_lake(config: str) -> Json:
    """Write small files of the lake together, remove what no training set names; returns table -> files removed."""
    from pipelines.steps.compact_lake import compact_lake as step

    return dict(step(lake=_lake(read_config(config))))


def train_retrieval(config: str, training_set: Json) -> Json:
    """Train and register the two-tower model; returns a ModelVersion."""
    from pipelines.steps.train_retrieval import train_retrieval as step

    c = read_config(config)
    stores = _model_stores(c)
    return _json(step(TrainingSet(**training_set), config=c.retrieval, seed=c.seed, **stores))


def check_leakage(config: str, training_set: Json, retrieval: Json) -> Json:
    """Prove that training set and model knew only the past; returns a LeakageReport, or fails naming the leak."""
    from pipelines.contracts import LeakageReport
    from pipelines.steps.check_leakage import require_clean

    return _json(require_clean(LeakageReport(**report_leakage(config, training_set, retrieval))))


def report_leakage(config: str, training_set: Json, retrieval: Json | None) -> Json:
    """Run the leakage checks, on the rows alone without a model; returns a LeakageReport, whatever it found."""
    from pipelines.steps.check_leakage import check_leakage as step

    c = read_config(config)
    model = ModelVersion(**retrieval) if retrieval else None
    stores: Json = {"lake": _lake(c), "artifacts": _artifacts(c), "registry": _registry(c) if model else None}
    work: Json = {"delay_seconds": c.source.delay_seconds, "scratch": c.home / "tmp", "seed": c.seed}
    chosen: Json = {"config": c.leakage, "features": c.features, "min_positive_value": c.retrieval.min_positive_value}
    return _json(step(TrainingSet(**training_set), model, **chosen, **stores, **work))


def check_parity(config: str, as_of: str = "") -> Json:
    """Compare the features serving used with those offline; returns a ParityReport, or fails naming the feature."""
    from pipelines.contracts import ParityReport
    from pipelines.steps.check_parity import require_parity

    report = ParityReport(**report_parity(config, as_of))
    return _json(require_parity(report, read_config(config).parity))


def report_parity(config: str, as_of: str = "") -> Json:
    """Compare the features serving used with those offline; returns a ParityReport, whatever it found.

    `as_of` empty: now.
    """
    from pipelines.steps.check_parity import check_parity as step

    c = read_config(config)
    stores: Json = {"lake": _lake(c), "registry": _registry(c), "artifacts": _artifacts(c)}
    logs: Json = {"requests": _served(c, "requests"), "events": _served(c, "events")}
    work: Json = {"delay_seconds": c.source.delay_seconds, "scratch": c.home / "tmp", "seed": c.seed}
    clock = parse_as_of(as_of) or datetime.now(UTC)
    return _json(step(c.dataset, config=c.parity, features=c.features, as_of=clock, **stores, **logs, **work))


def build_ranking_set(config: str, training_set: Json, retrieval: Json) -> Json:
    """Retrieve candidates for logged queries and join their features; returns a RankingSet."""
    from pipelines.steps.build_ranking_set import build_ranking_set as step

    c = read_config(config)
    stores = {"feature_store": _feature_store(c), **_model_stores(c)}
    return _json(step(TrainingSet(**training_set), ModelVersion(**retrieval), config=c.ranking, seed=c.seed, **stores))


def train_ranking(config: str, ranking_set: Json) -> Json:
    """Train, calibrate and register the ranking model; returns a ModelVersion."""
    from pipelines.steps.train_ranking import train_ranking as step

    c = read_config(config)
    stores = _model_stores(c)
    return _json(step(RankingSet(**ranking_set), config=c.ranking, seed=c.seed, **stores))


def evaluate_models(config: str, training_set: Json, retrieval: Json, ranking: Json) -> Json:
    """Measure the pair on the temporal holdout beside its baselines; returns an Evaluation."""
    from pipelines.steps.evaluate_models import evaluate_models as step

    c = read_config(config)
    refs = (TrainingSet(**training_set), ModelVersion(**retrieval), ModelVersion(**ranking))
    stores: Json = {"feature_store": _feature_store(c), "lake": _lake(c), **_model_stores(c)}
    return _json(step(*refs, config=c.evaluation, source=c.source, seed=c.seed, **stores))


def build_index(config: str, evaluation: Json) -> Json:
    """Embed the item corpus, index it, measure the index's recall; returns an IndexManifest."""
    from pipelines.steps.build_index import build_index as step

    c = read_config(config)
    stores = {"feature_store": _feature_store(c), **_model_stores(c)}
    return _json(step(Evaluation(**evaluation), config=c.index, seed=c.seed, **stores))


def assemble_release(config: str, evaluation: Json, index: Json) -> Json:
    """Bind towers, ranker, index and item features into one registered Release."""
    from pipelines.steps.assemble_release import assemble_release as step

    c = read_config(config)
    refs = (Evaluation(**evaluation), IndexManifest(**index))
    stores = _model_stores(c)
    return _json(step(*refs, config=c.rules, num_candidates=c.evaluation.num_candidates, **stores))


def compare_release(config: str, release: Json) -> Json:
    """Hold a release against the champion and popularity; returns a Comparison."""
    from pipelines.steps.compare_release import compare_release as step

    c = read_config(config)
    return _json(step(Release(**release), config=c.promotion, registry=_registry(c)))


def check_features(config: str) -> Json:
    """Compare the declared features with what the champion was trained with; returns a FeatureCheck."""
    from pipelines.steps.check_features import check_features as step

    return _json(step(registry=_registry(read_config(config))))


def promote_release(config: str, comparison: Json) -> Json:
    """Move the alias `champion`, wait until serving answers from it, smoke-test it; returns a Promotion."""
    from pipelines.steps.promote_release import promote_release as step

    c = read_config(config)
    where: Json = {"serving_url": c.serving_url, "lock_file": c.home / "run" / "promotion.lock"}
    return _json(step(Comparison(**comparison), config=c.promotion, registry=_registry(c), **where))


def read_config(uri: str) -> Config:
    """Read a resolved configuration.

    Raises:
        ConfigError: there is none at `uri`, or it was written by another version of Tandem.
    """
    try:
        return Config.model_validate_json(Path(uri).read_bytes())
    except ValidationError as error:
        raise ConfigError(
            f"resolved configuration {uri} does not fit this version of Tandem ({error.error_count()} keys differ); "
            "start the DAG anew, so that its first task resolves another"
        ) from error
    except FileNotFoundError as error:
        raise ConfigError(
            f"resolved configuration {uri} does not exist; start with the first task of the DAG, or run a `tandem` "
            "step, which resolves one itself"
        ) from error


def parse_as_of(text: str, name: str = "as_of") -> datetime | None:
    """Parse a moment with its time zone; None stands for the moment after the newest row known.

    Raises:
        ConfigError: `text` is not an ISO 8601 moment, or has no time zone.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{name} {text!r} is not a moment; expected one such as 2025-01-02T00:00:00Z") from error
    if moment.tzinfo is None:
        raise ConfigError(f"{name} {text!r} has no time zone; expected one such as {text}Z")
    return moment


def runs_folder() -> str:
    """Return the folder below which steps write their results and reports."""
    return str(load_config().home / "runs")


def _last_window_end(config: Config) -> datetime | None:
    from pipelines.stores.published import Published

    last = Published(config.home).find("features", config.dataset)
    return None if last is None else FeatureSet(**last["features"]).snapshot.as_of


def _moment(text: str, name: str) -> datetime:
    moment = parse_as_of(text, name)
    if moment is None:
        raise ConfigError(f"{name} is empty; expected a moment such as 2025-01-02T00:00:00Z")
    return moment


def _json(reference: Any) -> Json:
    return dict(reference.model_dump(mode="json"))


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _artifacts(config: Config) -> LocalArtifacts:
    return LocalArtifacts(config.home / "runs")


def _model_stores(config: Config) -> Json:
    return {"registry": _registry(config), "artifacts": _artifacts(config)}


def _served(config: Config, kind: str) -> Any:
    from pipelines.stores.served import open_served

    return open_served(config.services.served_log, kind, home=config.home)


def _lake(config: Config) -> Any:
    from pipelines.data.lake import Lake

    return Lake(config.lake_uri)


def _feature_store(config: Config) -> Any:
    from pipelines.stores.feature_store import FeatureStore

    return FeatureStore.from_config(config)


def _registry(config: Config) -> Any:
    from pipelines.stores.registry import MlflowRegistry

    return MlflowRegistry(config.mlflow_uri, config.home / "mlflow" / "cache")
