"""Where searches are kept: a file, or a real PostgreSQL where there is one."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.config import REPOSITORY
from pipelines.errors import ConfigError, PlatformError
from pipelines.search.storage import DATABASE_VARIABLE, alone, is_held, open_storage
from pipelines.search.study import Outcome, SearchStudy, define
from tests.support.servers import no_postgres, postgres_database

DEFINITION = {"space": {"retrieval.dropout": "0.0..0.5"}, "seed": 7, "pruning": None}


def test_a_search_in_postgres_is_there_for_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (reason := no_postgres()) is not None:
        pytest.skip(reason)
    with postgres_database() as address:
        monkeypatch.setenv(DATABASE_VARIABLE, address.replace("postgresql://", "postgresql+psycopg://"))
        storage = open_storage("postgres", tmp_path)
        define(storage, "s", DEFINITION, pinned={}, num_trials=2)
        study = SearchStudy(storage, tmp_path, "s")
        with study.working():
            trial = study.claim()
            assert trial is not None
            trial.report([0.1, 0.2])
            trial.end(Outcome("complete", 0.2, (0.1, 0.2)))
        before = study.tried()
        storage.remove_session()
        storage.engine.dispose()
        again = open_storage("postgres", tmp_path)
        assert SearchStudy(again, tmp_path, "s").tried() == before != []
        again.remove_session()
        again.engine.dispose()
    assert not (tmp_path / "studies.db").exists()


def test_postgres_without_an_address_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="SEARCH_DATABASE is not set"):
        open_storage("postgres", tmp_path)


def test_a_database_that_does_not_answer_is_an_error_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql+psycopg://search:secret@127.0.0.1:9/search")
    with pytest.raises(PlatformError, match="the postgres database of searches does not answer") as error:
        open_storage("postgres", tmp_path)
    assert error.value.retryable
    assert "secret" not in str(error.value)


def test_a_file_is_held_for_as_long_as_its_process_lives(tmp_path: Path) -> None:
    file = tmp_path / "worker.lock"
    assert not is_held(file)
    with alone(file):
        assert is_held(file)
    assert not is_held(file)
    hold = (
        "import sys, time\nfrom pathlib import Path\nfrom pipelines.search.storage import alone\n"
        "with alone(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    command = [sys.executable, "-c", hold, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_held(file)
        process.kill()
        process.wait()
        assert not is_held(file)
