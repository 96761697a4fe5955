"""`tandem reproduce` on a made-up file of the published layout."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.cli.main import main
from pipelines.models.ratings.catalogue import rating_model
from pipelines.models.retrievers.catalogue import retriever_class
from pipelines.protocols.base import Protocol, reaches
from pipelines.protocols.catalogue import PROTOCOLS
from pipelines.protocols.measuring import contest_ranking

NAME = "ml-1m-leave-one-out"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """40 users who walk through a circle of 20 items from where they like."""
    folder = tmp_path / "ml-1m-sequences"
    folder.mkdir()
    starts = np.random.default_rng(0).integers(0, 20, 40)
    lines = [f"{user + 1} {(start + step) % 20 + 1}" for user, start in enumerate(starts) for step in range(8)]
    (folder / "ml-1m.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_protocol_prints_ours_beside_the_published(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = data / "result.json"
    wanted = ["--model", "transitions", "--model", "random", "--seeds", "2", "--out", str(out)]
    assert main(["reproduce", NAME, "--data", str(data), *wanted]) == 0
    printed = capsys.readouterr().out
    assert "0.3207" in printed
    assert "±" in printed
    result = json.loads(out.read_text())
    transitions, chance = result["results"]
    # What follows an item is always the same: the circle is learnt, and the goal of the protocol is met.
    assert transitions["mean"]["hit_rate_at_10"] == 1
    assert transitions["met"] is True
    assert (transitions["num_seeds"], chance["num_seeds"]) == (1, 2)
    assert chance["mean"]["ndcg_at_10"] < 0.9
    assert chance["each"][0]["ndcg_at_10"] != chance["each"][1]["ndcg_at_10"]  # another seed, another order


def test_settings_are_given_and_chosen_on_the_validation_part(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--model", "transitions", "--set", "num_steps=3", "--part", "validation", "--json"]
    assert main(["reproduce", NAME, "--data", str(data), *asked]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["part"] == "validation"
    assert result["results"][0]["settings"] == {"num_steps": 3}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "protocol 'nothing' is unknown; expected one of ml-1m-leave-one-out"),
        ([NAME, "--model", "nothing"], "model 'nothing' is unknown"),
        ([NAME, "--model", "ease", "--set", "l3=1"], "setting 'l3' of ease"),
        ([NAME, "--seeds", "0"], "0 seeds were asked for"),
        (["beauty-leave-one-out", "--model", "popularity"], "Beauty.txt cannot be read"),
        ([], "no NAME of a protocol was given"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], told: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", *arguments, "--data", str(data)]) == 2
    assert told in capsys.readouterr().err


def test_without_a_folder_of_data_the_option_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TANDEM_DATA", raising=False)
    assert main(["reproduce", NAME]) == 2
    assert "--data or TANDEM_DATA" in capsys.readouterr().err


def test_the_list_has_every_protocol_with_its_goal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--list", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert list(listed) == list(PROTOCOLS)
    assert listed[NAME]["goal"] == {"hit_rate_at_10": 0.325, "ndcg_at_10": 0.19}
    assert main(["reproduce", "--list"]) == 0


def test_an_error_is_met_from_above_and_a_gain_from_below() -> None:
    assert reaches("rmse", 0.88, 0.89)
    assert not reaches("rmse", 0.90, 0.89)
    assert reaches("ndcg_at_10", 0.5, 0.5)
    protocol: Protocol = PROTOCOLS[NAME]
    assert not protocol.met({"hit_rate_at_10": 0.4, "ndcg_at_10": 0.1})


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_protocols_say_what_they_ask_and_report_what_they_want(protocol: Protocol) -> None:
    assert protocol.split.__doc__
    assert set(protocol.goal) <= set(protocol.metrics)
    assert all(published.source and set(published.values) & set(protocol.metrics) for published in protocol.published)
    assert len({contender.name for contender in protocol.contenders}) == len(protocol.contenders)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_settings_of_contenders_are_legal_also_those_within_blends(protocol: Protocol) -> None:
    find = retriever_class if protocol.measure is contest_ranking else rating_model
    for contender in protocol.contenders:
        kind = find(contender.model)
        kind(contender.settings_of(kind))
