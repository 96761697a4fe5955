import json

import pytest

from pipelines.errors import IntegrityError
from pipelines.release.manifest import read_manifest, verify_release, write_manifest
from tests.support.tiny_release import write_tiny_release


@pytest.fixture
def release(tmp_path):
    return write_tiny_release(tmp_path)


def test_a_release_is_what_its_manifest_says(release):
    manifest = verify_release(release)
    assert manifest == read_manifest(release)
    assert manifest.clock == "data"
    assert manifest.index.retrieval_version == manifest.retrieval.version
    assert {
        "query_tower.onnx",
        "ranker.onnx",
        "items.parquet",
        "popular.parquet",
        "rules.json",
    } <= manifest.files.keys()


def test_one_changed_byte_is_found(release):
    tower = release / "query_tower.onnx"
    data = bytearray(tower.read_bytes())
    data[-1] ^= 1
    tower.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=r"changed: query_tower\.onnx"):
        verify_release(release)


def test_a_missing_and_an_extra_file_are_found(release):
    (release / "rules.json").rename(release / "rules.txt")
    with pytest.raises(IntegrityError, match=r"missing: rules\.json; unexpected: rules\.txt"):
        verify_release(release)


def test_an_index_of_another_tower_is_refused(release):
    manifest = read_manifest(release)
    other = manifest.index.model_copy(update={"retrieval_version": "2"})
    write_manifest(release, manifest.model_copy(update={"index": other}))
    with pytest.raises(IntegrityError, match="index was filled by retrieval version 2"):
        verify_release(release)


@pytest.mark.parametrize("text", ["", "{}", "[1"])
def test_a_broken_manifest_says_what_to_run(release, text):
    (release / "release.json").write_text(text)
    with pytest.raises(IntegrityError, match="tandem assemble-release"):
        verify_release(release)


def test_an_unknown_schema_is_refused(release):
    values = json.loads((release / "release.json").read_text())
    (release / "release.json").write_text(json.dumps({**values, "schema_version": 2}))
    with pytest.raises(IntegrityError, match="schema_version"):
        read_manifest(release)
