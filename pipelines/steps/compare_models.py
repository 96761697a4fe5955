"""Put models side by side that were evaluated on one holdout."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.contracts import RANKING_MODEL, RECOMMENDER, RETRIEVAL_MODEL, ModelComparison, ModelVersion
from pipelines.errors import ConfigError
from pipelines.models.comparison import Contestant, beside_simpler, compare
from pipelines.models.comparison_page import write_comparison
from pipelines.models.kept_evaluation import FILES, KeptEvaluation
from pipelines.models.retrievers.catalogue import DEEP_FAMILIES, SIMPLE_FAMILIES, family_of
from pipelines.release.manifest import MANIFEST_FILE, ReleaseManifest
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore, ModelRegistry, RunRecord
from pipelines.stores.revision import code_digest

NUM_VERSIONS = 20
RUN_ID = re.compile(r"[0-9a-f]{32}")
SYSTEMS = {RETRIEVAL_MODEL: "retrieval", RANKING_MODEL: RECOMMENDER}
FACTS = ("dataset", "snapshot", "cut", "num_users", "num_items", "holdout")
HOW_NAMED = "a version such as retrieval/3, ranking/2 or recommender/1, a number for a retrieval version, or a run id"


@dataclass(frozen=True)
class _Entry:
    """A version that takes part, and what was kept of its evaluation."""

    label: str
    version: ModelVersion
    kept: KeptEvaluation

    @property
    def system(self) -> str:
        """Its line in the evaluation."""
        return SYSTEMS[self.version.name]

    @property
    def name(self) -> str:
        """Its line in the comparison, with the retrieval model that it is, or that found its candidates."""
        own = "" if self.version.name == RETRIEVAL_MODEL else "on "
        return f"{self.label} {own}{self.kept.report['retrieval_model']}"

    @property
    def family(self) -> str | None:
        """Family of the retrieval model; None where the catalogue has it no more."""
        return family_of(self.kept.report["retrieval_model"])


def compare_models(
    names: Sequence[str],
    *,
    dataset: str,
    metric: str,
    reference: str | None,
    registry: ModelRegistry,
    runs: Any,
    artifacts: ArtifactStore,
    seed: int,
) -> ModelComparison:
    """Publish a page on models that were evaluated on the same users, and log it as a run of its own in MLflow.

    The baselines of the first evaluation stand beside them: they were measured on the same users. Equal evaluations
    give the page that is there already.

    Args:
        names: versions or run ids; none takes those that were evaluated on the same holdout as the newest version.
        dataset: namespace of the versions.
        metric: decides.
        reference: a name, or a baseline, that all are held against; None takes the best.
        registry: knows the versions.
        runs: `stores.runs.MlflowRuns`: has evaluations, curves and costs, and gets the page.
        artifacts: where the page is published.
        seed: decides the draws of users.

    Raises:
        ConfigError: a name is no version, or was not evaluated, or two were evaluated on different holdouts.
    """
    entries = _entries(names, registry.list_versions(dataset), registry, runs)
    _require_one_holdout(entries)
    told = {one.name: runs.read(one.version.run_id) for one in entries}
    key = content_key(
        evaluations={one.name: one.kept.digest for one in entries},
        told={name: [page.metrics, page.curves] for name, page in told.items()},
        chosen=[metric, reference, seed],
        code=code_digest("models", "steps/compare_models.py"),
    )
    first = entries[0].kept

    def write(folder: Path) -> None:
        contestants = [one.kept.contestant(one.system, one.name, told[one.name]) for one in entries]
        contestants += [first.contestant(name, name) for name in first.report["baselines"]]
        found = compare(contestants, metric=metric, reference=_full_name(reference, entries), seed=seed)
        notes = [*_notes(entries), *_beside_simpler(entries, contestants, metric, seed)]
        write_comparison(folder, {**{name: first.report[name] for name in FACTS}, **found, "notes": notes})

    folder = artifacts.local(uri := artifacts.publish(f"{dataset}/compare_models/{key}", write))
    report = KeptEvaluation.report_in(folder)
    record = RunRecord(
        name=f"comparison-{key[:8]}",
        params={"metric": metric, "reference": report["reference"], "models": ", ".join(told)},
        tags={"tandem.comparison": key, "tandem.snapshot": report["snapshot"]},
        artifacts={folder: "comparison"},
    )
    return ModelComparison(
        dataset=dataset,
        holdout=report["holdout"],
        metric=metric,
        reference=report["reference"],
        values=report["values"],
        uri=uri,
        run_id=runs.record(key, dataset=dataset, record=record),
    )


def _entries(
    names: Sequence[str], versions: Sequence[ModelVersion], registry: ModelRegistry, runs: Any
) -> list[_Entry]:
    """Return the versions that take part, each once."""
    with tempfile.TemporaryDirectory(prefix="tandem-compare-") as scratch:
        loader = _Loader(runs, Path(scratch))
        found = [_named(name, versions, registry, loader) for name in names] or _newest(versions, loader)
    return list({(one.version.run_id, one.system): one for one in found}.values())


@dataclass(frozen=True)
class _Loader:
    """Fetches what runs kept of their evaluation."""

    runs: Any
    scratch: Path

    def __call__(self, version: ModelVersion) -> KeptEvaluation | None:
        folder = self.scratch / version.run_id
        folder.mkdir(exist_ok=True)
        files = [f"evaluation/{name}" for name in FILES]
        return KeptEvaluation.read(folder) if self.runs.fetch_files(version.run_id, files, folder) else None


def _named(name: str, versions: Sequence[ModelVersion], registry: ModelRegistry, loader: _Loader) -> _Entry:
    wanted = f"{RETRIEVAL_MODEL}/{name}" if name.isdigit() else name
    chosen = next((one for one in versions if wanted in (f"{one.name}/{one.version}", one.run_id)), None)
    if chosen is None:
        known = ", ".join(f"{one.name}/{one.version}" for one in versions) or "none"
        raise ConfigError(f"{name!r} is no model of this data set; expected {HOW_NAMED}. Registered are: {known}")
    label = f"{chosen.name}/{chosen.version}"
    if chosen.name == RECOMMENDER:
        manifest = ReleaseManifest.model_validate_json(registry.read_file(chosen, MANIFEST_FILE))
        chosen = manifest.ranking
    kept = loader(chosen)
    if kept is None:
        raise ConfigError(
            f"{label} has no evaluation with the values of each user; expected one of this release of Tandem. Run "
            "`tandem evaluate-models` with it, or train it again: `tandem train-models`"
        )
    return _Entry(label, chosen, kept)


def _newest(versions: Sequence[ModelVersion], loader: _Loader) -> list[_Entry]:
    """Return the newest versions that were evaluated on the same holdout as the newest of all."""
    entries = list(_evaluated(versions, loader))
    if not entries:
        raise ConfigError(
            "no version of this data set has an evaluation with the values of each user; expected at least one. Run "
            "`tandem train-models` first"
        )
    holdout = entries[0].kept.report["holdout"]
    return [one for one in entries if one.kept.report["holdout"] == holdout]


def _evaluated(versions: Sequence[ModelVersion], loader: _Loader) -> Iterator[_Entry]:
    for name in (RANKING_MODEL, RETRIEVAL_MODEL):
        own = sorted((one for one in versions if one.name == name), key=lambda one: -int(one.version))
        for version in own[:NUM_VERSIONS]:
            kept = loader(version)
            if kept is not None:
                yield _Entry(f"{version.name}/{version.version}", version, kept)


def _require_one_holdout(entries: Sequence[_Entry]) -> None:
    first = entries[0]
    for other in entries[1:]:
        if other.kept.report["holdout"] != first.kept.report["holdout"]:
            raise ConfigError(
                f"{first.label} and {other.label} were evaluated on different holdouts ({first.kept.question} against "
                f"{other.kept.question}), so users cannot be paired; expected one holdout. Evaluate both on one: "
                "`tandem evaluate-models` with the same training set"
            )


def _full_name(reference: str | None, entries: Sequence[_Entry]) -> str | None:
    """Return a line's name for a version's; a baseline is named as it is."""
    wanted = f"{RETRIEVAL_MODEL}/{reference}" if reference and reference.isdigit() else reference
    return next((one.name for one in entries if wanted in (one.label, one.version.run_id)), reference)


def _beside_simpler(entries: Sequence[_Entry], contestants: Sequence[Contestant], metric: str, seed: int) -> list[str]:
    """Say whether deep retrieval models, and ranking models, beat the best simple retrieval."""
    deep = [one.name for one in entries if one.version.name == RANKING_MODEL or one.family in DEEP_FAMILIES]
    alone = [one.name for one in entries if one.version.name == RETRIEVAL_MODEL and one.family in SIMPLE_FAMILIES]
    baselines = [name for name in entries[0].kept.report["baselines"] if family_of(name) in SIMPLE_FAMILIES]
    return beside_simpler(contestants, deep, [*alone, *baselines], metric=metric, seed=seed)


def _notes(entries: Sequence[_Entry]) -> list[str]:
    return [
        "All models ranked the same corpus for the same users: full rankings, seen items removed, ties counted worst "
        "case. A retrieval version is measured alone, a ranking version on the candidates of its retrieval.",
        f"Baselines stand as they were measured beside {entries[0].label}. Losses of different models do not compare; "
        "their figures on the validation window do.",
    ]
