"""A user is forgotten everywhere, whatever is killed on the way, and stays forgotten."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.contracts import EVENTS, ITEMS, QUARANTINE, USERS
from pipelines.data.lake import Lake
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.errors import ForgettingError, LakeError, RegistryError
from pipelines.features.schemas import FEATURE_TABLES
from pipelines.forgetting.needle import Needle
from pipelines.forgetting.tables import TableRows
from pipelines.steps.find_user import find_user, require_forgotten
from pipelines.steps.forget_user import forget_user
from pipelines.stores.artifacts import LocalArtifacts
from tests.support.feature_data import AS_OF, DATASET, START, event
from tests.support.forgetting import GONE, NOW, OTHER, Home
from tests.support.servers import no_s3, s3_server


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled home, to copy."""
    return Home(tmp_path_factory.mktemp("filled") / "home").fill().home


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Iterator[Home]:
    shutil.copytree(filled, tmp_path / "home")
    home = Home(tmp_path / "home")
    yield home
    home.close()


EXPECTED = {
    "lake table events": 3,
    "lake table quarantine": 1,
    "lake table users": 1,
    "runs": 1,
    "cache of model versions": 1,
    "served events": 2,
    "features of requests": 1,
    "logs of processes and tasks": 2,
}


def test_nothing_is_left_of_the_user_and_nothing_taken_from_the_other(home: Home) -> None:
    before = home.find(OTHER)
    items = home.work.lake.version(ITEMS)
    report = home.forget()
    removed = {place.place: place.num for place in report.removed}
    assert {place: num for place, num in removed.items() if "history" not in place} == EXPECTED
    assert set(removed) - set(EXPECTED) == {f"history of lake table {table}" for table in (EVENTS, QUARANTINE, USERS)}
    assert report.remains == ()
    assert home.find() == {}
    after = home.find(OTHER)
    assert {k: v for k, v in after.items() if "history" not in k} == {
        k: v for k, v in before.items() if "history" not in k and "cache" not in k
    }
    assert home.work.lake.version(ITEMS) == items, "a table without users keeps its versions"
    assert home.work.lake.read(ITEMS, version=0).num_rows == 0
    assert (home.home / "runs" / DATASET / "config" / "0123456789abcdef").exists()
    require_forgotten(find_user(GONE, stores=home.stores, forgotten=home.forgotten))


def test_no_byte_below_home_has_the_id(home: Home) -> None:
    def raw() -> list[str]:
        files = [path for path in home.home.rglob("*") if path.is_file()]
        return [str(path) for path in files if GONE.encode() in path.read_bytes()]

    assert len(raw()) > 8
    home.forget()
    assert raw() == []
    for path in home.home.rglob("*.parquet"):
        assert GONE not in str(pq.read_table(path).to_pylist()), path


def test_the_report_names_places_and_not_the_user(home: Home) -> None:
    home.register()
    report = home.forget()
    page, data = (Path(report.uri, name).read_text() for name in ("report.html", "report.json"))
    for text in (page, data):
        assert GONE not in text
        assert report.user[:16] in text
    assert "<td>lake table events</td><td>3 rows</td>" in page
    (remainder,) = report.remains
    assert remainder.place == "model recommender version 1 (champion)"
    assert "mlflow gc" in remainder.remedy
    assert remainder.place in page
    assert json.loads(data)["remains"][0]["num"] == 1


def test_logs_of_tasks_may_lie_elsewhere(home: Home, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "run" / "attempt=1.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"{GONE} and {OTHER}")
    home.stores = replace(home.stores, task_logs=tmp_path / "logs")
    assert home.find()["logs of processes and tasks"] == 3, "two below home, one there"
    home.forget()
    assert log.read_text() == f"{'-' * len(GONE)} and {OTHER}"
    assert home.find() == {}


def test_versions_of_before_are_gone_and_say_why(home: Home) -> None:
    lake, before = home.work.lake, home.work.lake.versions()
    home.forget()
    with pytest.raises(LakeError, match="history went when a user was forgotten"):
        lake.read(EVENTS, version=before[EVENTS])
    with pytest.raises(LakeError, match="history went when a user was forgotten"):
        lake.require_files(EVENTS, before[EVENTS])
    assert lake.has_transaction(EVENTS, "events 5"), "what was ingested is not ingested again"
    version = lake.version(EVENTS)
    assert version is not None
    assert lake.read(EVENTS, version=version)["user_id"].unique().to_pylist() == [OTHER]
    lake.append_once(EVENTS, pa.Table.from_pylist([event(9, OTHER, "i1", AS_OF)], LAKE_SCHEMAS[EVENTS]), app_id="more")
    assert lake.read(EVENTS, version=version).num_rows == 3, "from here on versions are kept again"


class Killed(BaseException):
    """What no `except Exception` stops."""


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, number: int, after: bool) -> Iterator[None]:
    """End with the `number`th call of a function, before or after it did its work."""
    original, calls = getattr(owner, name), []

    def call(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == number and not after:
            raise Killed
        result = original(*arguments, **named)
        if len(calls) == number and after:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, call)
        with pytest.raises(Killed):
            yield


POINTS: dict[str, Callable[[], tuple[Any, str, int, bool]]] = {
    "when the user is on the list": lambda: (Lake, "tables", 1, False),
    "between two tables": lambda: (Lake, "delete_rows", 1, True),
    "in the middle of a history": lambda: (_delta(), "create_checkpoint", 1, True),
    "in the middle of a run folder": lambda: (shutil, "rmtree", 2, False),
    "between the logs": lambda: (_files(), "erase", 1, True),
    "after the report": lambda: (LocalArtifacts, "publish", 1, True),
}


def _delta() -> Any:
    from deltalake import DeltaTable

    return DeltaTable


def _files() -> Any:
    from pipelines.stores.served_files import ServedFiles

    return ServedFiles


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_and_run_again_it_ends_the_same(
    home: Home, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    owner, name, number, after = POINTS[point]()
    with dying(monkeypatch, owner, name, number=number, after=after):
        home.forget()
    report = home.forget()
    removed = {place.place: place.num for place in report.removed}
    assert {place: num for place, num in removed.items() if "history" not in place} == EXPECTED
    assert home.find() == {}
    again = home.forget()
    assert again.removed == (), "the journal went with the report"


def test_the_check_finds_what_is_planted(home: Home) -> None:
    home.forget()
    assert home.find() == {}
    stray = home.home / "lake" / DATASET / EVENTS / "part-stray.parquet"  # of a writer that was killed
    pq.write_table(pa.table({"user_id": [GONE]}), stray)
    home.publish("export_features/fedcba9876543210", GONE)
    (home.home / "tmp").mkdir()
    (home.home / "tmp" / "dump.bin").write_bytes(b"\x00" + GONE.encode() + b"\x00")
    (home.home / "airflow" / "airflow.db").write_text(f'{{"user_id": "{GONE}"}}')
    assert home.find() == {
        "history of lake table events": 1, "runs": 1, "file tmp/dump.bin": 1, "files below airflow": 1
    }  # fmt: skip
    with pytest.raises(ForgettingError, match=r"runs \(1\), file tmp/dump.bin"):
        require_forgotten(find_user(GONE, stores=home.stores, forgotten=home.forgotten))
    with pytest.raises(ForgettingError, match=r"still in file tmp/dump.bin"):
        home.forget()
    (home.home / "tmp" / "dump.bin").unlink()
    assert home.find() == {"files below airflow": 1}
    assert [remainder.place for remainder in home.forget().remains] == ["files below airflow"]


def test_the_same_id_in_another_data_set_is_somebody_else_until_people_say_so(home: Home) -> None:
    online, audited = (
        home.home / "feast" / "online.db",
        home.home / "feast" / "audited" / "my_shop" / "user_taste.parquet",
    )
    online.parent.mkdir(exist_ok=True)
    online.write_bytes(b"\x00" + Needle(GONE).key + b"\x00")
    with pytest.raises(ForgettingError, match=r"still in file feast/online\.db"):
        home.forget()
    audited.parent.mkdir(parents=True)
    pq.write_table(pa.table({"entity_key": [Needle(GONE).key]}), audited)
    (remainder,) = home.forget().remains
    assert (remainder.place, remainder.num) == ("online features of other data sets", 2)
    assert remainder.remedy.startswith("my_shop: a user of the same id was not forgotten")
    require_forgotten(find_user(GONE, stores=home.stores, forgotten=home.forgotten))


def test_a_user_who_was_never_forgotten_is_not_said_to_be(home: Home) -> None:
    search = find_user("nobody-knows", stores=home.stores, forgotten=home.forgotten)
    assert search.found == ()
    with pytest.raises(ForgettingError, match="not on the list"):
        require_forgotten(search)


def test_a_registry_that_is_away_costs_nothing_that_was_done(home: Home) -> None:
    home.registry.down = True
    with pytest.raises(RegistryError):
        home.forget()
    assert TableRows(home.work.lake, EVENTS, Needle(GONE)).count() == 0
    home.registry.down = False
    assert {place.place: place.num for place in home.forget().removed}["lake table events"] == 3


def test_a_lake_in_an_object_store_is_cleaned_to_the_last_byte(tmp_path: Path) -> None:
    if reason := no_s3():
        pytest.skip(f"the object store is not tested: {reason}")
    (tmp_path / "s3").mkdir()
    with s3_server(tmp_path / "s3") as options:
        home, lake = Home(tmp_path / "home"), Lake(f"s3://lake/{DATASET}", options)
        home.stores = replace(home.stores, lake=lake)
        for number, name in enumerate((GONE, OTHER, GONE)):
            row = pa.Table.from_pylist([event(number, name, "i1", START)], LAKE_SCHEMAS[EVENTS])
            lake.append_once(EVENTS, row, app_id=str(number))
        assert home.find()["lake table events"] == 2
        removed = {place.place: place.num for place in home.forget().removed}
        assert removed["lake table events"] == 2
        assert home.find() == {}
        filesystem = lake.filesystem()
        for path in lake.list_files():
            with filesystem.open_input_file(path) as file:
                text = str(pq.read_table(file).to_pylist()) if path.endswith(".parquet") else file.read().decode()
            assert GONE not in text, path
        version = lake.version(EVENTS)
        assert version is not None
        assert lake.read(EVENTS, version=version)["user_id"].to_pylist() == [OTHER]


def test_features_go_offline_and_online(home: Home) -> None:
    snapshot = home.work.snapshot()
    store = home.work.store
    store.apply()  # which also makes the online tables
    store.materialize(home.work.compute(snapshot))
    assert store.online_user(GONE)["user_num_events"] == 3
    stores = replace(home.stores, store=home.work.store)
    own = {"forgotten": home.forgotten, "artifacts": home.work.artifacts, "as_of": NOW}
    report = forget_user(GONE, stores=stores, **own)
    places = {place.place for place in report.removed}
    views = [table.lake_table for table in FEATURE_TABLES.values() if table.entity == "user_id"]
    assert {f"lake table {view}" for view in views} | {"online features", "event times of audits"} <= places
    assert find_user(GONE, stores=stores, forgotten=home.forgotten).found == ()
    assert set(home.work.store.online_user(GONE).values()) == {None}
    assert home.work.store.online_user(OTHER)["user_num_events"] == 3
    again = home.work.compute(home.work.snapshot())
    assert home.work.store.materialize(again)["user_activity"] == 1
    assert find_user(GONE, stores=stores, forgotten=home.forgotten).found == ()
