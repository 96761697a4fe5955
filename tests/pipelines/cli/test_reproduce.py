"""`tandem reproduce` on a made-up file of the published layout."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.cli.main import main
from pipelines.models.ratings.catalogue import rating_model
from pipelines.models.retrievers.catalogue import retriever_class
from pipelines.models.significance import PerUser
from pipelines.protocols.base import Contender, Parts, Protocol, reaches
from pipelines.protocols.catalogue import PROTOCOLS
from pipelines.protocols.measures import Measures
from pipelines.protocols.measuring import contest_ranking
from pipelines.protocols.reproduction import reproduce

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


def test_every_line_has_its_interval_and_the_best_is_paired_with_each(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--model", "random", "--model", "transitions", "--model", "popularity", "--seeds", "2"]
    assert main(["reproduce", NAME, "--data", str(data), *asked, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for line in result["results"]:
        for metric in ("hit_rate_at_10", "ndcg_at_10"):
            low, high = line["intervals"][metric]
            assert low <= line["mean"][metric] <= high
    means = {line["name"]: line["mean"]["ndcg_at_10"] for line in result["results"]}
    assert result["best"] == "transitions"
    paired = result["differences"]["ndcg_at_10"]
    assert set(paired) == {"random", "popularity"}
    # Two seeds of 40 users are 40 users, each with the mean of both.
    assert paired["random"]["num_users"] == 40
    assert paired["random"]["difference"] == pytest.approx(means["transitions"] - means["random"])
    assert paired["random"]["low"] > 0
    assert paired["random"]["p_value"] < 0.001
    assert main(["reproduce", NAME, "--data", str(data), *asked]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "transitions beside each on the same users" in printed
    assert "< .001" in printed


def test_of_errors_the_lowest_is_the_best_and_measures_without_users_get_no_interval(tmp_path: Path) -> None:
    errors = {"near": np.full(50, 0.5), "far": np.full(50, 1.0)}

    def measure(contender: Contender, parts: object, part: object, seed: int) -> Mapping[str, float]:
        if contender.name == "told":
            return {"rmse": 0.1}
        return Measures({"rmse": PerUser(errors[contender.name], np.ones(50), root=True)})

    lines = tuple(Contender(name, "biases") for name in ("far", "near", "told"))
    protocol = replace(
        PROTOCOLS["ml-100k-ratings"], measure=measure, contenders=lines, split=lambda data, seed: Parts(None, None)
    )
    result = reproduce(protocol, tmp_path, models=(), settings={}, num_seeds=1, part="test")
    assert result["best"] == "near"
    assert set(result["differences"]["rmse"]) == {"far"}
    assert result["differences"]["rmse"]["far"]["difference"] < 0
    assert result["results"][2]["intervals"] == {}


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
