"""Write the catalogue of all features: what they are, how fresh, how distributed, and who reads them."""

import json
import os
from pathlib import Path

from pipelines.catalogue.definitions import definitions, readers
from pipelines.catalogue.distributions import distributions, request_distributions
from pipelines.catalogue.entries import entries
from pipelines.catalogue.page import write_page
from pipelines.config import FeatureConfig
from pipelines.contracts import FeatureCatalogue, FeatureSet, TrainingSet
from pipelines.data.lake import Lake
from pipelines.data.ledger import training_sets
from pipelines.features.labels import SPLITS
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore, ModelRegistry
from pipelines.stores.declared import declared_ttls
from pipelines.stores.freshness import enforced, read_policies
from pipelines.stores.revision import code_digest

RESULT, PAGE = "catalogue.json", "report.html"


def feature_catalogue(
    features: FeatureSet,
    *,
    config: FeatureConfig,
    lake: Lake,
    registry: ModelRegistry,
    artifacts: ArtifactStore,
    scratch: Path,
) -> FeatureCatalogue:
    """Describe every declared feature at a snapshot, and replace the data set's page at its lasting address.

    Values of features that are computed for each request are those of the newest training set's labels. Equal
    declarations, policies, tables, models, champion and labels give the page that is there already.

    Args:
        features: versions of the feature tables, whose values are described.
        config: DuckDB's memory and threads.
        lake: has the tables.
        registry: has the model versions and knows the champion.
        artifacts: where pages are published, by content; the newest is also `report.html` beside them.
        scratch: folder to which DuckDB spills.

    Raises:
        LakeError: a version of a feature table is gone.
        RegistryError: the registry cannot be read.
    """
    declared, policies = definitions(), enforced(read_policies(), declared_ttls())
    known = readers(registry, dataset=features.snapshot.dataset)
    labels = _newest_labels(lake)
    key = content_key(
        snapshot=features.snapshot.model_dump(mode="json"),
        versions=features.versions,
        declared=declared,
        policies={view: policy.model_dump() for view, policy in policies.items()},
        readers=known,
        labels=labels.fingerprint if labels else None,
        code=code_digest("catalogue", "steps/feature_catalogue.py"),
    )

    def write(folder: Path) -> None:
        found = distributions(features, lake=lake, config=config, scratch=scratch)
        if labels:
            computed = [definition.name for definition in declared if not definition.from_table]
            of_labels = request_distributions(labels, computed, config=config, scratch=scratch)
            found |= {d.view: of_labels for d in declared if not d.from_table}
        catalogue = entries(declared, policies=policies, distributions=found, readers=known)
        (folder / RESULT).write_text(json.dumps([entry.as_json() for entry in catalogue], indent=2))
        write_page(folder / PAGE, catalogue, features.snapshot)

    uri = artifacts.publish(f"{features.snapshot.dataset}/feature_catalogue/{key}", write)
    folder = artifacts.local(uri)
    return FeatureCatalogue(
        features=features,
        uri=uri,
        page=str(_replace(folder / PAGE, folder.parent / PAGE)),
        num_features=len(declared),
        num_models=len(known),
    )


def _newest_labels(lake: Lake) -> TrainingSet | None:
    """Return the newest training set whose files are there; None if there is none."""
    built = [entry.training_set for entry in reversed(training_sets(lake))]
    return next((found for found in built if all((Path(found.uri) / f"{s}.parquet").exists() for s in SPLITS)), None)


def _replace(page: Path, lasting: Path) -> Path:
    """Put a copy of the page at its lasting address, in one act."""
    scratch = lasting.with_suffix(f".{page.parent.name}.tmp")
    scratch.write_bytes(page.read_bytes())
    os.replace(scratch, lasting)
    return lasting
