"""What requests and responses look like: the OpenAPI page is made of these."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

Id = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Part = Literal["user_features", "registry"]


class Body(BaseModel):
    """A request body; unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid")


class Context(Body):
    """The circumstances of a request."""

    timestamp: AwareDatetime | None = Field(
        None, description="moment of the request; without it, the release's `as_of` (data clock) or now (wall clock)"
    )
    device: Id | None = Field(None, description="such as `mobile`; values never seen in training are fine")


class RecommendationRequest(Body):
    """Who asks, when, and for what."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"user_id": "1", "count": 10, "context": {"device": "web"}}]}
    )

    user_id: Id = Field(description="a user never seen is answered from context and item features")
    count: int = Field(10, ge=1, le=1000, description="items wanted; the server's own limit may be lower")
    context: Context = Field(default_factory=Context)
    exclude: list[Id] = Field(default_factory=list, max_length=1000, description="items not to return")


class ReleaseRef(BaseModel):
    """The release that gave the whole answer."""

    version: str = Field(description="version of `recommender` in MLflow")
    digest: str = Field(description="SHA-256 of the release folder")
    dataset: str
    retrieval: str = Field(description="version of the retrieval model: query tower and index")
    ranking: str = Field(description="version of the ranking model")
    index: str = Field(description="`scann` or `brute_force`")


class RecommendedItem(BaseModel):
    """One recommendation."""

    item_id: str
    title: str | None
    rank: int = Field(description="1 is best")
    score: float = Field(description="calibrated probability that the user interacts with the item")
    expected_value: float = Field(description="expected `value` of the interaction, such as a rating")
    retrieval_score: float = Field(description="inner product of query and item embedding")
    source: Literal["retrieval", "popular"] = Field(description="`popular` fills up when retrieval found too few")


class RecommendationResponse(BaseModel):
    """Recommendations, best first, and how they were made."""

    user_id: str
    user_known: bool = Field(description="whether the online store or recent events know the user")
    items: list[RecommendedItem]
    request_time: datetime = Field(description="the moment used for context features")
    release: ReleaseRef
    degraded: list[Part] = Field(description="parts that were down, so that defaults were used; empty when all is well")


class SimilarItem(BaseModel):
    """One item near another."""

    item_id: str
    title: str | None
    score: float | None = Field(description="inner product of the two item embeddings; null for a popular item")
    source: Literal["retrieval", "popular"]


class SimilarResponse(BaseModel):
    """Items near one item in the retrieval model's space."""

    item_id: str
    item_known: bool = Field(description="an item the release does not know is answered with popular items")
    items: list[SimilarItem]
    release: ReleaseRef


class EventIn(Body):
    """One thing a user did."""

    event_id: Id | None = Field(None, description="makes sending it twice harmless; made up when missing")
    user_id: Id
    item_id: Id
    event_type: Id = Field(description="such as `view`, `rating`, `purchase`")
    value: FiniteFloat | None = Field(None, description="how much: a rating, watched seconds, a price")
    event_timestamp: AwareDatetime | None = Field(None, description="when it happened; now when missing")
    session_id: Id | None = None
    device: Id | None = None


class EventsRequest(Body):
    """Events to keep."""

    events: list[EventIn] = Field(min_length=1, max_length=10_000)


class EventsResponse(BaseModel):
    """Events that are on disk now."""

    accepted: int = Field(description="events written")
    duplicates: int = Field(description="events whose id was written before; not written again")
    ignored: int = Field(description="events of users who were forgotten; not written")
    event_ids: list[str] = Field(description="ids in order of the request, without those ignored")


class Neighbour(BaseModel):
    """An item of the user's history near the explained one."""

    item_id: str
    title: str | None
    similarity: float


class Explanation(BaseModel):
    """Why an item is, or is not, recommended to a user."""

    user_id: str
    item_id: str
    user_known: bool
    item_known: bool
    recommended: bool = Field(description="whether it is among the items returned for `count`")
    position: int | None = Field(description="its rank in the answer, 1 is best; null when it is not in it")
    reasons: list[str] = Field(description="why it is not returned; empty when it is")
    retrieval_score: float | None
    retrieval_rank: int | None = Field(description="exact rank among all items, before filters")
    num_items: int
    probability: float | None
    expected_value: float | None
    features: dict[str, dict[str, Any]] = Field(description="user, item, pair -> feature -> value")
    history: list[Neighbour] = Field(description="most similar items of the user's recent history")
    release: ReleaseRef
    degraded: list[Part]


class ErrorDetail(BaseModel):
    """What went wrong."""

    type: str = Field(description="class of the error, such as `RequestError`")
    message: str = Field(description="what happened, what was expected, what to do next")


class ErrorResponse(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail
