"""Every protocol by name."""

from dataclasses import replace
from typing import Any

from pipelines.errors import ConfigError
from pipelines.models.retrievers.blend_presets import hstu_part, linear_parts
from pipelines.models.retrievers.catalogue import retriever_class
from pipelines.protocols import ranking_splits as splits
from pipelines.protocols.base import Contender, Protocol, Published
from pipelines.protocols.measuring import contest_ranking
from pipelines.protocols.rating_measures import contest_lists, contest_rating
from pipelines.protocols.rating_splits import ml_100k_fold_1, ml_100k_lists, ml_100k_random

HISTORY = "all of the user's items before the one asked for, in order"
TIMED_HISTORY = f"{HISTORY}; when each was rated, and when the one asked for was"
SEEN = "items of the history"
ALL_KNOWN = "the user's training items"


def _preset(model: str, name: str) -> dict[str, Any]:
    return retriever_class(model).presets[name]


POPULARITY = Contender("popularity", "popularity")
TRANSITIONS = Contender("transitions", "transitions")
NEAR_TRANSITIONS = Contender("transitions up to 6 steps apart", "transitions", _preset("transitions", "quality"))
EASE = Contender("EASE", "ease")
EASE_DECAYED = Contender("EASE, history decayed 0.9", "ease", _preset("ease", "next_item"))
EASE_NORMALIZED = Contender("EASE, rows normalized", "ease", _preset("ease", "quality"))
EASE_SHORT_ROWS = Contender("EASE, rows normalized", "ease", _preset("ease", "short_rows"))
ALS = Contender("ALS", "als", _preset("als", "quality"), is_random=True)
EASE_AND_ALS = Contender("blend of EASE and ALS", "blend", _preset("blend", "ease_als"), is_random=True)
TWO_TOWER_OF_USERS = Contender(
    "two-tower of user and title ids, 3 epochs", "id_two_tower", _preset("id_two_tower", "users"), is_random=True
)
TWO_TOWER_OF_TITLES = Contender(
    "two-tower with the user's titles, 3 epochs", "id_two_tower", _preset("id_two_tower", "quality"), is_random=True
)
BIASES = Contender("biases", "biases")
BIASED_FACTORS = Contender("biased factors", "biased_factors", is_random=True)
BAYESIAN_FACTORS = Contender("Bayesian factors", "bayesian_factors", is_random=True)
RATING_CONTENDERS = (BAYESIAN_FACTORS, BIASED_FACTORS, BIASES)
# Part of the day and weekend of a rating, UTC.
CONTEXT_CONTENDERS = (
    Contender("CAMF-CU", "camf", {"deviations": "user", "deviation_l2": 20.0}, is_random=True),
    Contender("CAMF-C", "camf", {"deviations": "global"}, is_random=True),
    Contender("CAMF-CI", "camf", {"deviations": "item", "deviation_l2": 200.0}, is_random=True),
    Contender("item splitting", "splitting", is_random=True),
    Contender("user splitting", "splitting", {"split": "users", "threshold": 6.0}, is_random=True),
)
LINEAR_TRANSITIONS = Contender("linear transitions", "linear_transitions", _preset("linear_transitions", "quality"))
# What one page holds has one second; ten minutes are a sitting.
TIMED_TRANSITIONS = Contender(
    "linear transitions with times",
    "linear_transitions",
    {"history_decay": 0.8, "elapsed_bounds": (1, 600)},
)
LINEAR_BLEND = Contender("blend of linear models", "blend", _preset("blend", "linear"))
TIMED_LINEAR_BLEND = replace(
    LINEAR_BLEND,
    name="blend of linear models with times",
    settings={"parts": linear_parts(1.0, 0.7, 0.3, transitions=TIMED_TRANSITIONS.settings)},
)
# The moment of asking is not told: what others published without it is compared with.
HSTU = Contender("HSTU", "hstu", hstu_part()["settings"], stops_early=True, is_random=True)
SASREC = Contender("SASRec", "sasrec", _preset("sasrec", "quality"), stops_early=True, is_random=True)
HSTU_BLEND = Contender(
    "blend of HSTU and linear models", "blend", _preset("blend", "quality"), stops_early=True, is_random=True
)
TIMED_HSTU_PART = hstu_part(use_times=True, hidden_times=0.0)
TIMED_HSTU = Contender("HSTU with times", "hstu", TIMED_HSTU_PART["settings"], stops_early=True, is_random=True)
TIMED_HSTU_BLEND = replace(
    HSTU_BLEND,
    name="blend of HSTU with times and linear models",
    settings={
        "parts": [
            TIMED_HSTU_PART,
            *linear_parts(0.08, 0.1, 0.02, transitions=TIMED_TRANSITIONS.settings),
        ]
    },
)
TIMED_TWICE_HSTU_BLEND = replace(
    HSTU_BLEND,
    name="blend of two HSTU with times and linear models",
    settings={
        "parts": [
            *2 * [TIMED_HSTU_PART],
            *linear_parts(0.16, 0.2, 0.04, transitions=TIMED_TRANSITIONS.settings),
        ]
    },
)
# As many epochs as leave-one-out took: a validation part of its own would keep the newest tenth from the model.
HSTU_WHOLE = replace(HSTU, stops_early=False)
HSTU_BLEND_WHOLE = replace(
    HSTU_BLEND,
    settings={"parts": [hstu_part(), *linear_parts(0.08, 0.16, 0.08)]},
    stops_early=False,
)

ML_1M_LEAVE_ONE_OUT = Protocol(
    name="ml-1m-leave-one-out",
    data="ml-1m-sequences",
    split=splits.ml_1m_leave_one_out,
    inputs=HISTORY,
    removed=SEEN,
    measure=contest_ranking,
    metrics=("hit_rate_at_10", "ndcg_at_10"),
    published=(
        Published(
            "SASRec+ (time-to-split)",
            {"hit_rate_at_10": 0.3207, "ndcg_at_10": 0.1858},
            "Gusak and others, Time to split, RecSys 2025",
        ),
        Published(
            "SASRec+ (antklen)",
            {"hit_rate_at_10": 0.3159, "ndcg_at_10": 0.1857},
            "Klenitskiy and Vasilev, Turning dross into gold loss, RecSys 2023",
        ),
        Published(
            "gSASRec",
            {"hit_rate_at_10": 0.3003, "ndcg_at_10": 0.1726},
            "Petrov and Macdonald, gSASRec, RecSys 2023",
        ),
    ),
    goal={"hit_rate_at_10": 0.325, "ndcg_at_10": 0.190},
    contenders=(
        HSTU_BLEND,
        HSTU,
        SASREC,
        LINEAR_BLEND,
        LINEAR_TRANSITIONS,
        TRANSITIONS,
        EASE_DECAYED,
        EASE,
        POPULARITY,
    ),
)

ML_1M_LEAVE_ONE_OUT_TIMED = replace(
    ML_1M_LEAVE_ONE_OUT,
    name="ml-1m-leave-one-out-timed",
    split=splits.ml_1m_leave_one_out_timed,
    inputs=TIMED_HISTORY,
    published=(
        Published(
            "HSTU-large (RecTools)",
            {"hit_rate_at_10": 0.3642, "ndcg_at_10": 0.2164},
            "RecTools, its HSTU tutorial, stable sort",
        ),
    ),
    goal={"hit_rate_at_10": 0.365, "ndcg_at_10": 0.217},
    contenders=(
        TIMED_TWICE_HSTU_BLEND,
        TIMED_HSTU_BLEND,
        TIMED_HSTU,
        TIMED_LINEAR_BLEND,
        TIMED_TRANSITIONS,
        LINEAR_BLEND,
        LINEAR_TRANSITIONS,
        EASE_DECAYED,
        POPULARITY,
    ),
)

BEAUTY_LEAVE_ONE_OUT = Protocol(
    name="beauty-leave-one-out",
    data="beauty",
    split=splits.beauty_leave_one_out,
    inputs=HISTORY,
    removed=SEEN,
    measure=contest_ranking,
    metrics=("hit_rate_at_10", "ndcg_at_10"),
    published=(
        Published("eSASRec", {"hit_rate_at_10": 0.0928, "ndcg_at_10": 0.0523}, "eSASRec, RecSys 2025"),
        Published("SASRec, sampled softmax", {"hit_rate_at_10": 0.0921, "ndcg_at_10": 0.0531}, "eSASRec, RecSys 2025"),
    ),
    goal={"hit_rate_at_10": 0.095, "ndcg_at_10": 0.055},
    contenders=(NEAR_TRANSITIONS, TRANSITIONS, EASE, POPULARITY),
)

_TIME_TO_SPLIT = Published(
    "SASRec+", {"hit_rate_at_10": 0.169, "ndcg_at_10": 0.095}, "Gusak and others, Time to split, RecSys 2025"
)

ML_1M_TIME_LAST = Protocol(
    name="ml-1m-time-last",
    data="ml-1m",
    split=splits.ml_1m_time_last,
    inputs=HISTORY,
    removed=SEEN,
    measure=contest_ranking,
    metrics=("hit_rate_at_10", "ndcg_at_10"),
    published=(_TIME_TO_SPLIT,),
    goal={"hit_rate_at_10": 0.175, "ndcg_at_10": 0.100},
    contenders=(
        HSTU_BLEND_WHOLE,
        HSTU_WHOLE,
        LINEAR_BLEND,
        LINEAR_TRANSITIONS,
        TRANSITIONS,
        EASE_DECAYED,
        EASE,
        POPULARITY,
    ),
)

ML_1M_TIME_SUCCESSIVE = Protocol(
    name="ml-1m-time-successive",
    data="ml-1m",
    split=splits.ml_1m_time_successive,
    inputs=HISTORY,
    removed=SEEN,
    measure=contest_ranking,
    metrics=("hit_rate_at_10", "ndcg_at_10"),
    published=(),
    goal={},
    contenders=(LINEAR_BLEND, LINEAR_TRANSITIONS, TRANSITIONS, EASE_DECAYED, EASE, POPULARITY),
)

ML_100K_TUTORIAL = Protocol(
    name="ml-100k-tutorial",
    data="ml-100k",
    split=splits.ml_100k_tutorial,
    inputs="the user and all of its training items",
    removed="nothing: a training item may stand above a test item",
    measure=contest_ranking,
    metrics=("hits_at_100",),
    published=(
        Published("deep retrieval (keras-rs)", {"hits_at_100": 0.3134}, "keras-rs examples, deep_recommender"),
        Published("deep retrieval", {"hits_at_100": 0.29}, "TensorFlow Recommenders, deep retrieval tutorial"),
        Published("retrieval, 3 epochs", {"hits_at_100": 0.2363}, "TensorFlow Recommenders, retrieval tutorial"),
    ),
    goal={"hits_at_100": 0.33},
    contenders=(EASE_SHORT_ROWS, TWO_TOWER_OF_TITLES, TWO_TOWER_OF_USERS, EASE, POPULARITY),
)

ML_100K_STRATIFIED = Protocol(
    name="ml-100k-stratified",
    data="ml-100k",
    split=splits.ml_100k_stratified,
    inputs="the user and all of its training items",
    removed=ALL_KNOWN,
    measure=contest_ranking,
    metrics=("ndcg_at_10", "recall_at_10"),
    published=(
        Published("BiVAE", {"ndcg_at_10": 0.4751, "recall_at_10": 0.2191}, "Microsoft Recommenders, table of README"),
    ),
    goal={"ndcg_at_10": 0.490},
    contenders=(EASE_AND_ALS, ALS, EASE_NORMALIZED, EASE, POPULARITY),
)

ML_100K_RATINGS = Protocol(
    name="ml-100k-ratings",
    data="ml-100k",
    split=ml_100k_random,
    inputs="the user, the item, their attributes and when it was",
    removed="nothing",
    measure=contest_rating,
    metrics=("rmse",),
    published=(Published("deep and cross network", {"rmse": 0.9136}, "keras-rs examples, dcn"),),
    goal={"rmse": 0.900},
    contenders=(*RATING_CONTENDERS, *CONTEXT_CONTENDERS),
)

ML_100K_RATINGS_U1 = Protocol(
    name="ml-100k-ratings-u1",
    data="ml-100k",
    split=ml_100k_fold_1,
    inputs="the user, the item and their attributes",
    removed="nothing",
    measure=contest_rating,
    metrics=("rmse",),
    published=(
        Published("GLocal-K", {"rmse": 0.8889}, "Han and others, GLocal-K, CIKM 2021"),
        Published("myFM", {"rmse": 0.8959}, "Ohtsuki, myFM, its documentation"),
    ),
    goal={"rmse": 0.890},
    contenders=RATING_CONTENDERS,
)

ML_100K_LISTS = Protocol(
    name="ml-100k-lists",
    data="ml-100k",
    split=ml_100k_lists,
    inputs="the user, five films it rated and their attributes",
    removed="nothing: only the five films are ordered",
    measure=contest_lists,
    metrics=("ndcg_at_5",),
    published=(Published("pairwise hinge loss", {"ndcg_at_5": 0.9348}, "keras-rs examples, listwise_ranking"),),
    goal={"ndcg_at_5": 0.940},
    contenders=tuple(replace(contender, is_random=True) for contender in RATING_CONTENDERS),
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        ML_1M_LEAVE_ONE_OUT,
        ML_1M_LEAVE_ONE_OUT_TIMED,
        BEAUTY_LEAVE_ONE_OUT,
        ML_1M_TIME_LAST,
        ML_1M_TIME_SUCCESSIVE,
        ML_100K_TUTORIAL,
        ML_100K_STRATIFIED,
        ML_100K_RATINGS,
        ML_100K_RATINGS_U1,
        ML_100K_LISTS,
    )
}


def protocol_named(name: str) -> Protocol:
    """Return a protocol.

    Raises:
        ConfigError: none has the name.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol {name!r} is unknown; expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
