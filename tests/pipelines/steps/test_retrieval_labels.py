import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import REPOSITORY, RetrievalConfig
from pipelines.inputs import row_file
from pipelines.inputs.row_file import RowFile
from pipelines.models.retrieval import RetrievalData
from pipelines.steps.retrieval_labels import encode, fit_encoders, labels_of, latest_items
from tests.support.model_refs import training_set
from tests.support.rows import feature_rows

CONFIG = RetrievalConfig(num_bins=4)
ROWS = feature_rows(1_000)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_file, "PART_ROWS", 64)


def in_file(folder: Path) -> RowFile:
    pq.write_table(ROWS, folder / "rows.parquet", row_group_size=150)
    return RowFile(folder / "rows.parquet")


def encoded(folder: Path, *, resident_mb: int) -> RetrievalData:
    built = training_set(folder / "set", ROWS)
    train, validation = (labels_of(built, split, CONFIG) for split in ("train", "validation"))
    encoders = fit_encoders(train, CONFIG)
    return encode(train, validation, *encoders, seed=0, resident_mb=resident_mb, scratch=folder)


def test_labels_read_in_parts_and_kept_in_a_file_are_encoded_as_a_table_at_once(small_parts: None, tmp_path: Path):
    train = ROWS.slice(0, 700)
    items, queries = fit_encoders(train, CONFIG)
    data = encoded(tmp_path, resident_mb=0)
    for found, expected in ((data.queries, queries.encode(train)), (data.items, items.encode(train))):
        assert set(found) == set(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)
            assert not found[name].flags.owndata
    in_memory = encoded(tmp_path, resident_mb=1)
    assert data.digest() == in_memory.digest()
    assert in_memory.queries["user"].flags.owndata


def test_encoders_learn_from_parts_what_they_learn_from_a_table(small_parts: None, tmp_path: Path):
    for in_parts, at_once in zip(fit_encoders(in_file(tmp_path), CONFIG), fit_encoders(ROWS, CONFIG), strict=True):
        assert in_parts.widths == at_once.widths
        assert in_parts.numbers.to_dict() == at_once.numbers.to_dict()
        for name, vocabulary in at_once.vocabularies.items():
            assert in_parts.vocabularies[name].values.equals(vocabulary.values)


def test_labels_below_a_value_are_left_out_in_every_part(small_parts: None, tmp_path: Path):
    built, config = training_set(tmp_path, ROWS), RetrievalConfig(min_positive_value=4)
    values = labels_of(built, "train", config).read()["value"].to_pylist()
    assert values == [value for value in ROWS["value"][:700].to_pylist() if value is not None and value >= 4]


def test_latest_items_are_found_over_parts(small_parts: None, tmp_path: Path):
    newest = {item: place for place, item in enumerate(ROWS["item_id"].to_pylist())}
    expected = ROWS.take(pa.array([newest[item] for item in sorted(newest)]))
    found = latest_items(in_file(tmp_path))
    assert found.equals(expected.select(found.column_names))


MEASURE = """
import json, sys, threading
from pathlib import Path
from pipelines.config import RetrievalConfig
from pipelines.inputs.row_file import RowFile
from pipelines.models.retrieval import epoch_steps
from pipelines.steps.retrieval_labels import encode, fit_encoders

over, most = threading.Event(), 0
def look():
    global most
    while not over.wait(0.005):
        status = Path("/proc/self/status").read_text()
        most = max(most, int(status.split("RssAnon:")[1].split()[0]))
threading.Thread(target=look, daemon=True).start()

config, found = RetrievalConfig(), []
for file in sys.argv[1:]:
    labels = RowFile(Path(file))
    encoders = fit_encoders(labels, config)
    data = encode(labels, RowFile(Path(sys.argv[1])), *encoders, seed=0, resident_mb=0, scratch=Path(file).parent)
    count, steps = epoch_steps(data, config, None, seed=0, resident_mb=0).of(1, 0)
    assert sum(1 for _ in steps) == count
    found.append(most)
    size = sum(values.nbytes for side in (data.queries, data.items) for values in side.values())
    del data, steps
over.set()
print(json.dumps({"most": found, "size": size}))
"""


def test_memory_hardly_grows_with_the_number_of_labels(tmp_path: Path):
    rng, names = np.random.default_rng(0), pa.array([f"i{n}" for n in range(4_000)])
    rows = pa.concat_tables([ROWS] * 20)
    files = [str(tmp_path / f"{groups}.parquet") for groups in (2, 8)]
    for file, groups in zip(files, (2, 8), strict=True):
        with pq.ParquetWriter(file, rows.schema) as writer:
            for _ in range(groups):
                items = names.take(pa.array(rng.integers(4_000, size=50 * rows.num_rows)))
                histories = pa.ListArray.from_arrays(np.arange(rows.num_rows + 1, dtype=np.int32) * 50, items)
                writer.write_table(rows.set_column(rows.column_names.index("recent_items"), "recent_items", histories))
    # What is given back is given back to the system, or it would be counted on.
    returned = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    command, environment = [sys.executable, "-c", MEASURE, *files], os.environ | returned
    ran = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    growth = (found["most"][1] - found["most"][0]) * 1024 / 120_000
    assert found["size"] / 160_000 > 300  # bytes of an encoded label, which are on disk
    assert growth < 60, f"{growth:.0f} bytes of memory a label: {found}"
