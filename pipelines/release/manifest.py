"""The manifest of a release folder: what it was made from, and the digest of every byte in it.

release.json        this manifest
query_tower.onnx    query_inputs/      from the retrieval version
ranker.onnx         ranking_inputs/    from the ranking version
index/              nearest-neighbour index of the item tower's embeddings
items.parquet       item_id and item features as of the snapshot; row i is row i of the index
popular.parquet     item_id, most popular first: what fills up a short answer
rules.json          business rules
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from pipelines.contracts import ModelVersion, Ref, Snapshot, UtcDatetime
from pipelines.errors import IntegrityError
from pipelines.stores.artifacts import folder_files

MANIFEST_FILE = "release.json"
QUERY_TOWER = "query_tower.onnx"
QUERY_INPUTS = "query_inputs"
RANKER = "ranker.onnx"
RANKING_INPUTS = "ranking_inputs"
INDEX = "index"
ITEMS = "items.parquet"
POPULAR = "popular.parquet"
RULES = "rules.json"


class IndexPart(Ref):
    """The index inside a release, and the retrieval version whose item tower filled it."""

    retrieval_version: str
    retrieval_digest: str
    kind: Literal["scann", "brute_force", "item_to_item"]
    num_items: int
    embedding_dim: int
    recall: dict[str, float]


class ReleaseManifest(Ref):
    """Everything a release is made of, by version and by digest."""

    schema_version: Literal[1] = 1
    dataset: str
    feast_project: str
    feature_services: dict[str, str] = Field(description="retrieval, ranking, user -> Feast feature service")
    user_features: dict[str, str] = Field({}, description="feature of the user service -> Arrow type; none: older")
    snapshot: Snapshot
    as_of: UtcDatetime = Field(description="the moment whose knowledge the release holds")
    clock: Literal["data", "wall"] = Field("data", description="`data`: a request without a time happens at `as_of`")
    history_length: int = Field(ge=1, description="recent items the query tower reads")
    num_candidates: int = Field(ge=1, description="items retrieved before ranking, as evaluated")
    retrieval: ModelVersion
    ranking: ModelVersion
    index: IndexPart
    metrics: dict[str, dict[str, float]] = Field(description="system -> metric -> value on the holdout")
    sample_users: tuple[str, ...] = Field(description="users of the holdout, for smoke tests and demonstrations")
    files: dict[str, str] = Field(description="relative path -> SHA-256 of every file but this manifest")


def write_manifest(folder: Path, manifest: ReleaseManifest) -> None:
    """Write `release.json`."""
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2))


def read_manifest(folder: Path) -> ReleaseManifest:
    """Read `release.json` without checking the other files.

    Raises:
        IntegrityError: it is missing or not a manifest of a known schema.
    """
    path = folder / MANIFEST_FILE
    try:
        return ReleaseManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise IntegrityError(
            f"{path} is not a release manifest ({error}); run `tandem assemble-release` again"
        ) from error


def verify_release(folder: Path) -> ReleaseManifest:
    """Read the manifest and check that the folder is exactly what it says.

    Raises:
        IntegrityError: a file is missing, changed or extra, or the index was filled by another retrieval
            version than the one whose query tower is in the release.
    """
    manifest = read_manifest(folder)
    check_pair(manifest)
    actual = {name: digest for name, digest in folder_files(folder).items() if name != MANIFEST_FILE}
    wrong = {
        "missing": sorted(manifest.files.keys() - actual.keys()),
        "unexpected": sorted(actual.keys() - manifest.files.keys()),
        "changed": sorted(n for n in manifest.files.keys() & actual.keys() if manifest.files[n] != actual[n]),
    }
    problems = [f"{what}: {', '.join(names)}" for what, names in wrong.items() if names]
    if problems:
        raise IntegrityError(
            f"release {folder} is not what its manifest says ({'; '.join(problems)}). Delete the folder to fetch it "
            "again; if the registry's copy is damaged, run `tandem assemble-release` and promote again"
        )
    return manifest


def check_pair(manifest: ReleaseManifest) -> None:
    """Raise IntegrityError unless query tower and index come from the same retrieval version."""
    tower = (manifest.retrieval.version, manifest.retrieval.digest)
    index = (manifest.index.retrieval_version, manifest.index.retrieval_digest)
    if tower != index:
        raise IntegrityError(
            f"the index was filled by retrieval version {index[0]} ({index[1][:12]}) but the query tower is of version "
            f"{tower[0]} ({tower[1][:12]}); their vectors do not compare. "
            f"Run `tandem build-index` for version {tower[0]}"
        )
