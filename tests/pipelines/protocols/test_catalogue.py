"""The settings behind each published figure of ours, so that no change of a preset moves one unseen."""

import pytest

from pipelines.protocols.catalogue import PROTOCOLS

HSTU = {
    "dim": 64,
    "length": 100,
    "loss": "sampled_softmax",
    "num_negatives": 512,
    "dropout": 0.2,
    "epochs": 28,
    "patience": 6,
    "num_heads": 2,
    "learning_rate": 2e-3,
    "use_times": False,
}
TIMED = HSTU | {"use_times": True, "hidden_times": 0.0}
DECAYED = {"history_decay": 0.9}
NORMALIZED = {"l2": 50.0, "row_norm": 0.5}
ALS = {"num_factors": 96, "alpha": 4.0, "l2": 35.0}
TOWERS = {"epochs": 3, "temperature": 0.2}


def linear(first: float, second: float, third: float, **settings: object) -> list[object]:
    return [
        ("linear_transitions", settings or {"history_decay": 0.7}, first),
        ("ease", DECAYED, second),
        ("transitions", {}, third),
    ]


def timed(*weights: float) -> list[object]:
    return linear(*weights, history_decay=0.8, elapsed_bounds=(1, 600))


@pytest.mark.parametrize(
    ("protocol", "name", "settings"),
    [
        ("ml-1m-leave-one-out", "HSTU", HSTU),
        ("ml-1m-leave-one-out-timed", "HSTU with times", TIMED),
        ("ml-1m-leave-one-out", "EASE, history decayed 0.9", DECAYED),
        (
            "beauty-leave-one-out",
            "transitions up to 6 steps apart",
            {"num_steps": 6, "step_decay": 0.7, "history_decay": 0.7, "source_norm": 0.5},
        ),
        ("ml-100k-tutorial", "EASE, rows normalized", {"l2": 20.0, "row_norm": 1.0}),
        (
            "ml-100k-tutorial",
            "two-tower with the user's titles, 3 epochs",
            TOWERS | {"history_length": 100, "history": "others", "learning_rate": 0.02},
        ),
        (
            "ml-100k-tutorial",
            "two-tower of user and title ids, 3 epochs",
            TOWERS | {"history_length": 0, "user_dropout": 0.0, "learning_rate": 0.01},
        ),
        ("ml-100k-stratified", "EASE, rows normalized", NORMALIZED),
        ("ml-100k-stratified", "ALS", ALS),
    ],
)
def test_settings_are_those_that_were_measured(protocol, name, settings):
    assert contender(protocol, name).settings == settings


@pytest.mark.parametrize(
    ("protocol", "name", "parts"),
    [
        (
            "ml-1m-leave-one-out",
            "blend of HSTU and linear models",
            [("hstu", HSTU, 1.0), *linear(0.04, 0.08, 0.04)],
        ),
        ("ml-1m-time-last", "blend of HSTU and linear models", [("hstu", HSTU, 1.0), *linear(0.08, 0.16, 0.08)]),
        ("ml-1m-leave-one-out", "blend of linear models", linear(1.0, 1.0, 0.3)),
        ("ml-1m-leave-one-out-timed", "blend of linear models with times", timed(1.0, 0.7, 0.3)),
        (
            "ml-1m-leave-one-out-timed",
            "blend of HSTU with times and linear models",
            [("hstu", TIMED, 1.0), *timed(0.08, 0.1, 0.02)],
        ),
        (
            "ml-1m-leave-one-out-timed",
            "blend of two HSTU with times and linear models",
            [("hstu", TIMED, 1.0), ("hstu", TIMED, 1.0), *timed(0.16, 0.2, 0.04)],
        ),
        ("ml-100k-stratified", "blend of EASE and ALS", [("ease", NORMALIZED, 1.0), ("als", ALS, 2.0)]),
    ],
)
def test_blends_are_those_that_were_measured(protocol, name, parts):
    given = contender(protocol, name).settings["parts"]
    assert [(part["model"], part["settings"], part.get("weight", 1.0)) for part in given] == parts


def contender(protocol, name):
    return next(one for one in PROTOCOLS[protocol].contenders if one.name == name)
