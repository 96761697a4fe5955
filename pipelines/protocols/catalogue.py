"""Every protocol by name."""

from pipelines.errors import ConfigError
from pipelines.protocols import ranking_splits as splits
from pipelines.protocols.base import Contender, Protocol, Published
from pipelines.protocols.measuring import contest_ranking

HISTORY = "all of the user's items before the one asked for, in order"
SEEN = "items of the history"
ALL_KNOWN = "the user's training items"

POPULARITY = Contender("popularity", "popularity")
TRANSITIONS = Contender("transitions", "transitions")
EASE = Contender("EASE", "ease")
EASE_DECAYED = Contender("EASE, history decayed 0.9", "ease", {"history_decay": 0.9})
LINEAR_TRANSITIONS = Contender("linear transitions", "linear_transitions", {"history_decay": 0.7})

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
    contenders=(LINEAR_TRANSITIONS, TRANSITIONS, EASE_DECAYED, EASE, POPULARITY),
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
    contenders=(EASE, TRANSITIONS, POPULARITY),
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
    contenders=(LINEAR_TRANSITIONS, TRANSITIONS, EASE_DECAYED, EASE, POPULARITY),
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
    contenders=(LINEAR_TRANSITIONS, TRANSITIONS, EASE_DECAYED, EASE, POPULARITY),
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
    contenders=(EASE, POPULARITY),
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
    contenders=(EASE, POPULARITY),
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        ML_1M_LEAVE_ONE_OUT,
        BEAUTY_LEAVE_ONE_OUT,
        ML_1M_TIME_LAST,
        ML_1M_TIME_SUCCESSIVE,
        ML_100K_TUTORIAL,
        ML_100K_STRATIFIED,
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
