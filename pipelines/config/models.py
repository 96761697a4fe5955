"""Models: what they are trained on, searched for, and judged by."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.config.base import Section


class RetrievalConfig(Section):
    """The retrieval model: which one, and the two-tower model's own settings."""

    model: str = Field("two_tower", description="name in `tandem models`, or package.module:Class of your own")
    preset: str | None = Field(
        None, description="settings that come with a model, such as quality or medium; not two_tower"
    )
    settings: dict[str, Any] = Field({}, description="settings of the model, over its preset; two_tower's are below")
    segment: str | None = Field(
        None, description="attribute of users whose values are segments, such as country; for popularity by segment"
    )
    embedding_dim: int = Field(64, ge=4, description="length of query and item vectors")
    hidden_units: tuple[int, ...] = Field((128,), description="layers of each tower")
    feature_dim: int = Field(16, ge=1, description="length of user, attribute, category, device and word embeddings")
    num_oov_buckets: int = Field(8, ge=1, description="buckets for ids unknown at training")
    temperature: float = Field(0.07, gt=0, description="of the softmax")
    learning_rate: float = Field(0.003, gt=0, description="Adam's step at the start")
    batch_size: int = Field(1024, ge=8, description="also the number of in-batch negatives")
    epochs: int = Field(4, ge=1, description="at most")
    max_examples: int = Field(2_000_000, ge=1, description="labels seen over all epochs; at least one epoch is run")
    patience: int = Field(2, ge=1, description="epochs without gain before training ends")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of units left out while training")
    user_dropout: float = Field(0.3, ge=0, lt=1, description="share of user ids replaced by an unseen one in training")
    item_dropout: float = Field(0.05, ge=0, lt=1, description="share of item ids replaced by an unseen one in training")
    earlier_share: float = Field(
        0.3, ge=0, le=1, description="share of labels seen from an earlier state of their user"
    )
    earlier_longest: int = Field(20, ge=0, description="how many labels back such a state may be")
    num_periods: int = Field(20, ge=1, description="stretches of time; the negatives of a label are of its own")
    num_hard_negatives: int = Field(0, ge=0, description="highest negatives learnt from, none its user's; 0 is all")
    num_sampled_negatives: int = Field(
        0, ge=0, description="negatives a batch drawn uniformly from items known by then"
    )
    log_q: Literal["counts", "stream"] = Field("counts", description="how often items are drawn: counted, or streamed")
    frequency_rate: float = Field(
        0.01, gt=0, lt=1, description="of a streamed frequency: weight of an item's newest gap"
    )
    num_bins: int | None = Field(None, ge=2, description="quantile bins that numbers go in as; none standardizes them")
    scene_units: tuple[int, ...] = Field((), description="layers of a third tower, of device and time; none by default")
    max_text_tokens: int = Field(8, ge=0, description="words of title and text used; 0 is none")
    item_vectors: Path | None = Field(
        None, description="Parquet file with item_id and a vector each, such as embeddings of text or images; two_tower"
    )
    vector_column: str = Field("vector", description="column of `item_vectors` with lists of numbers of one length")
    content_vectors: bool = Field(False, description="models other than two_tower: place new items by their content")
    min_positive_value: float | None = Field(
        None, description="labels below this value are not positives; None keeps all"
    )


class TrainingConfig(Section):
    """What models are trained on; device and number of devices change results by rounding alone."""

    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="`auto` takes an accelerator where there is one")
    num_devices: int = Field(
        1, ge=1, description="that take parts of every batch; two-tower and next-item models and rankers"
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32", description="of the dense layers; embeddings, logits and softmax are always float32"
    )
    resident_mb: int = Field(1_024, ge=0, description="encoded labels up to this size stay on the device")


DEFAULT_TRAINING = TrainingConfig()


class RankingConfig(Section):
    """The ranking model: which one, what it learns by, and the settings that all of them share."""

    model: str = Field("cross", description="name in `tandem models`")
    loss: str = Field("logistic", description="what it learns by; a name in `tandem models`")
    settings: dict[str, Any] = Field({}, description="settings of the model, over its defaults")
    num_queries: int = Field(12_000, ge=10, description="queries the model is trained on")
    num_candidates: int = Field(24, ge=2, description="candidates a training query")
    retrieved_share: float = Field(
        0.7, ge=0, le=1, description="share of candidates taken from retrieval; rest by popularity"
    )
    num_retrieved: int = Field(
        200, ge=2, description="length of the list the candidates are sampled from, as in serving"
    )
    max_text_tokens: int = Field(8, ge=0, description="words of title and text used; 0 is none")
    num_oov_buckets: int = Field(8, ge=1, description="buckets for ids unknown at training")
    embedding_dim: int = Field(16, ge=2, description="length of categorical embeddings")
    hidden_units: tuple[int, ...] = Field((64, 32), description="dense layers; in multi_task those of each expert")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of units left out while training")
    item_dropout: float = Field(0.1, ge=0, lt=1, description="share of item ids replaced by an unseen one in training")
    value_weight: float = Field(0.1, ge=0, description="weight of the expected value's loss")
    learning_rate: float = Field(0.006, gt=0, description="Adam's step at the start")
    batch_size: int = Field(4096, ge=8, description="pairs a step")
    epochs: int = Field(4, ge=1, description="at most")
    patience: int = Field(2, ge=1, description="epochs without gain before training ends")


class SearchConfig(Section):
    """The search for a model's best settings on the validation window: `tandem search`."""

    prune: bool = Field(True, description="end a trial early that is worse than half of the others at the same epoch")
    num_unpruned: int = Field(5, ge=1, description="trials that must be complete before any is ended early")
    prune_from_epoch: int = Field(2, ge=1, description="first epoch after which a trial may be ended")
    max_trials: int = Field(500, ge=1, le=5_000, description="trials that may be asked for")


class ColdStartConfig(Section):
    """Goals for those a recommender knows least, as relative gain over popularity on `evaluation.metric`."""

    sparse_events: int = Field(5, ge=1, description="users with at most so many events are sparse")
    new_users: float = Field(0.0, description="gain wanted for users without history; 0: as good as popularity")
    sparse_users: float = Field(0.05, description="gain wanted for users with few events")
    new_items: float = Field(0.0, description="gain wanted on items first used after the training window")


class EvaluationConfig(Section):
    """The holdout protocol: full ranking over the corpus, seen items removed, ties counted worst case."""

    ks: tuple[int, ...] = Field((5, 10, 20, 50), description="cut-offs of recall, NDCG and the rest")
    max_users: int = Field(3_000, ge=1, description="users measured; more are sampled")
    metric: str = Field("ndcg_at_10", description="the metric that is compared and gets an interval")
    num_candidates: int = Field(200, ge=1, description="retrieved before ranking, as in serving")
    baselines: tuple[str, ...] = Field(
        ("random", "recent_history", "transitions", "ease"),
        description="models of `tandem models` that stand beside in every report",
    )
    baseline_max_items: int = Field(
        10_000,
        ge=0,
        description="larger corpora go without baselines of items squared in memory: ease, linear_transitions, blend",
    )
    cold_start: ColdStartConfig = ColdStartConfig()


class IndexConfig(Section):
    """The nearest-neighbour index."""

    brute_force_below: int = Field(5_000, ge=1, description="corpora smaller than this are searched exactly")
    num_queries: int = Field(1_000, ge=1, description="real queries on which the index is compared with exact search")
    recall_k: int = Field(50, ge=1, description="neighbours compared")
    min_recall: float = Field(0.95, ge=0, le=1, description="floor below which the index fails")
