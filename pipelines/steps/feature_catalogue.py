"""Write the catalogue of all features: what they are, how fresh, how distributed, and who reads them."""

import json
import os
from pathlib import Path

from pipelines.catalogue.definitions import definitions, readers
from pipelines.catalogue.distributions import distributions
from pipelines.catalogue.entries import entries
from pipelines.catalogue.page import write_page
from pipelines.config import FeatureConfig
from pipelines.contracts import FeatureCatalogue, FeatureSet
from pipelines.data.lake import Lake
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore, ModelRegistry
from pipelines.stores.freshness import read_policies
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

    Equal declarations, policies, tables, models and champion give the page that is there already.

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
    declared, policies = definitions(), read_policies()
    known = readers(registry, dataset=features.snapshot.dataset)
    key = content_key(
        snapshot=features.snapshot.model_dump(mode="json"),
        versions=features.versions,
        declared=declared,
        policies={view: policy.model_dump() for view, policy in policies.items()},
        readers=known,
        code=code_digest("catalogue", "steps/feature_catalogue.py"),
    )

    def write(folder: Path) -> None:
        found = distributions(features, lake=lake, config=config, scratch=scratch)
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


def _replace(page: Path, lasting: Path) -> Path:
    """Put a copy of the page at its lasting address, in one act."""
    scratch = lasting.with_suffix(f".{page.parent.name}.tmp")
    scratch.write_bytes(page.read_bytes())
    os.replace(scratch, lasting)
    return lasting
