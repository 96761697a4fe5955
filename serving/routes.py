"""The endpoints: parse, call, answer. Each takes the live release once, so its answer is from that one alone."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import numpy as np
import orjson
import pyarrow as pa
from fastapi import APIRouter, Path, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from pipelines.errors import PlatformError, RequestError
from serving import schemas
from serving.explain import explain
from serving.feature_log import feature_record
from serving.metrics import Metrics
from serving.recent import stored_until
from serving.recommender import Choice, Recommender, Stages, query_features
from serving.recommender import Query as Wanted
from serving.releases import Live
from serving.state import State
from serving.users import User

MAX_CLOCK_SKEW = timedelta(minutes=5)
OLDEST_EVENT = datetime(1970, 1, 1, tzinfo=UTC)
REGISTRY = "registry"
ITEMS_KEPT = 5
"""Items of an answer whose features are kept with a sampled request."""
Id = Annotated[str, Query(min_length=1, max_length=256)]
ItemId = Annotated[str, Path(min_length=1, max_length=256)]

router = APIRouter()
_ERRORS: dict[int | str, dict[str, Any]] = {
    422: {"model": schemas.ErrorResponse, "description": "the request is out of bounds"},
    503: {"model": schemas.ErrorResponse, "description": "no release is loaded yet; try again"},
}


@router.post(
    "/v1/recommendations",
    response_model=schemas.RecommendationResponse,
    responses=_ERRORS,
    tags=["recommend"],
    summary="Recommend items to a user",
)
async def recommendations(request: Request, body: schemas.RecommendationRequest) -> Response:
    """Retrieve, filter, rank, apply business rules. Items the user has seen are left out."""
    state = _state(request)
    live = _live(state)
    _check_count(body.count, state.settings.max_count)
    return await state.run(_recommend, state, live, body)


def _recommend(state: State, live: Live, body: schemas.RecommendationRequest) -> Response:
    stages = Stages()
    read_at = datetime.now(UTC)
    user = live.users.read(state.known_as(live.bundle.manifest.dataset, body.user_id))
    stages.lap("features")
    query = Wanted(user.user_id, body.count, body.context.timestamp, body.context.device, tuple(body.exclude))
    chosen, moment = live.recommender.recommend(query, user, stages, now=datetime.now(UTC))
    content = {
        "user_id": body.user_id,
        "user_known": user.known,
        "items": _items(live.recommender, chosen),
        "request_time": moment,
        "release": release_ref(live),
        "degraded": _degraded(state, user.degraded),
    }
    response = _json(content)
    if not user.degraded and user.user_id and state.features.wants():
        _keep_features(state, live, query_features(query, user, moment), user, chosen, read_at, moment)
    stages.lap("respond")
    _observe(state.metrics, stages, chosen, user.known)
    response.headers["Server-Timing"] = ", ".join(f"{name};dur={1000 * s:.3f}" for name, s in stages.seconds.items())
    return response


def _keep_features(
    state: State,
    live: Live,
    features: pa.Table,
    user: User,
    chosen: Sequence[Choice],
    read_at: datetime,
    moment: datetime,
) -> None:
    bundle = live.bundle
    rows = np.array([choice.row for choice in chosen[:ITEMS_KEPT]], dtype=np.int32)
    record = feature_record(
        features,
        live.recommender.item_features(features, rows),
        read_at=read_at,
        moment=moment,
        stored_until=stored_until(user.features),
        release=bundle.model.version,
        snapshot=bundle.manifest.snapshot.model_dump(mode="json"),
        history_length=bundle.manifest.history_length,
        expired=user.expired,
    )
    state.features.add(bundle.manifest.dataset, record)


def _observe(metrics: Metrics, stages: Stages, chosen: Sequence[Choice], known: bool) -> None:
    for name, seconds in stages.seconds.items():
        metrics.stage_seconds.labels(name).observe(seconds)
    metrics.popular_items.inc(sum(choice.origin == "popular" for choice in chosen))
    metrics.unknown_users.inc(not known)


def _items(recommender: Recommender, chosen: Sequence[Choice]) -> list[dict[str, Any]]:
    catalogue = recommender.bundle.catalogue
    return [
        {
            "item_id": catalogue.ids[choice.row],
            "title": catalogue.titles[choice.row],
            "rank": rank,
            "score": choice.probability,
            "expected_value": choice.expected_value,
            "retrieval_score": choice.retrieval_score,
            "source": choice.origin,
        }
        for rank, choice in enumerate(chosen, start=1)
    ]


@router.get(
    "/v1/items/{item_id:path}/similar",
    response_model=schemas.SimilarResponse,
    responses=_ERRORS,
    tags=["recommend"],
    summary="Items like an item",
)
async def similar(
    request: Request, item_id: ItemId, count: Annotated[int, Query(ge=1, le=1000, description="items wanted")] = 10
) -> Response:
    """Return the item's nearest neighbours in the retrieval model's space; popular items for an unknown one."""
    state = _state(request)
    live = _live(state)
    _check_count(count, state.settings.max_count)
    return await state.run(_similar, live, item_id, count)


def _similar(live: Live, item_id: str, count: int) -> Response:
    catalogue = live.bundle.catalogue
    row = catalogue.rows.get(item_id)
    if row is None:
        found = [(popular, None, "popular") for popular in live.recommender.popular(count).tolist()]
    else:
        rows, scores = live.recommender.similar(row, count)
        found = [(near, score, "retrieval") for near, score in zip(rows.tolist(), scores.tolist(), strict=True)]
    items = [
        {"item_id": catalogue.ids[r], "title": catalogue.titles[r], "score": score, "source": source}
        for r, score, source in found
    ]
    return _json({"item_id": item_id, "item_known": row is not None, "items": items, "release": release_ref(live)})


@router.post(
    "/v1/events",
    status_code=202,
    response_model=schemas.EventsResponse,
    responses=_ERRORS,
    tags=["learn"],
    summary="Tell what users did",
)
async def events(request: Request, body: schemas.EventsRequest) -> Response:
    """Make events durable, then acknowledge. They count for the user's next request, to any process within seconds."""
    state = _state(request)
    limit = state.settings.max_events
    if len(body.events) > limit:
        raise RequestError(f"the request carries {len(body.events)} events; expected at most {limit}")
    now = datetime.now(UTC)
    dataset = state.dataset
    kept = [event for event in body.events if not state.forgotten.has(dataset, event.user_id)]
    records = [_record(event, now) for event in kept]
    new = await asyncio.wrap_future(state.events.append(dataset, records))
    state.remember((dataset, record) for record in new)
    state.metrics.events.inc(len(new))
    ids = [record["event_id"] for record in records]
    counts = {"accepted": len(new), "duplicates": len(records) - len(new), "ignored": len(body.events) - len(kept)}
    return _json({**counts, "event_ids": ids}, 202)


def _record(event: schemas.EventIn, now: datetime) -> dict[str, Any]:
    happened = event.event_timestamp and event.event_timestamp.astimezone(UTC)
    if happened is not None and not OLDEST_EVENT <= happened <= now + MAX_CLOCK_SKEW:
        raise RequestError(
            f"event_timestamp {happened.isoformat()} is not between 1970 and now ({now.isoformat()}); "
            "check the sender's clock"
        )
    return {
        **event.model_dump(),
        "event_id": event.event_id or uuid.uuid4().hex,
        "event_timestamp": happened and happened.isoformat(timespec="microseconds"),
    }


@router.get(
    "/v1/explanations",
    response_model=schemas.Explanation,
    responses=_ERRORS,
    tags=["recommend"],
    summary="Why an item is, or is not, recommended",
)
async def explanations(
    request: Request,
    user_id: Id,
    item_id: Id,
    count: Annotated[int, Query(ge=1, le=1000, description="length of the answer it is looked for in")] = 10,
) -> Response:
    """Show the features used, retrieval score and exact rank, the ranker's outputs, and what excluded the item."""
    state = _state(request)
    live = _live(state)
    _check_count(count, state.settings.max_count)
    return await state.run(_explain, state, live, Wanted(user_id, count), item_id)


def _explain(state: State, live: Live, query: Wanted, item_id: str) -> Response:
    user = live.users.read(state.known_as(live.bundle.manifest.dataset, query.user_id))
    content = explain(live.recommender, replace(query, user_id=user.user_id), user, item_id, now=datetime.now(UTC))
    return _json(
        {**content, "user_id": query.user_id, "release": release_ref(live), "degraded": _degraded(state, user.degraded)}
    )


@router.get("/healthz", tags=["operate"], summary="Whether the process lives")
async def healthz() -> Response:
    """Answer 200 as long as the process answers at all."""
    return _json({"status": "ok"})


@router.get("/readyz", tags=["operate"], summary="Whether requests can be answered")
async def readyz(request: Request) -> Response:
    """Answer 200 when a release is loaded, else 503 with the reason; parts that are down are named either way."""
    state = _state(request)
    live = state.watcher.live
    if live is None:
        return _json({"ready": False, "reason": not_ready(state)}, 503)
    return _json({"ready": True, "release": live.bundle.model.version, "degraded": degradations(state, live)})


@router.get("/v1/freshness", tags=["operate"], summary="Which feature views are up to date")
def freshness(request: Request) -> Response:
    """Return for each view when all of it was online, how long ago that may be, and whether it is longer ago."""
    return _json({"views": _state(request).freshness.report()})


@router.get("/v1/release", tags=["operate"], summary="The release that answers")
async def release(request: Request) -> Response:
    """Return versions, metrics and state of the release; `version` is null, with the reason, when there is none."""
    state = _state(request)
    live = state.watcher.live
    refused = state.watcher.status.refused
    if live is None:
        return _json({"version": None, "reason": not_ready(state), "refused": refused})
    manifest = live.bundle.manifest
    return _json(
        {
            **release_ref(live),
            "as_of": manifest.as_of,
            "snapshot": manifest.snapshot.model_dump(),
            "loaded_at": live.loaded_at,
            "num_items": live.bundle.catalogue.num_items,
            "num_candidates": manifest.num_candidates,
            "index_recall": manifest.index.recall,
            "metrics": manifest.metrics,
            "sample_users": [u for u in manifest.sample_users if not state.forgotten.has(manifest.dataset, u)],
            "feature_services": manifest.feature_services,
            "degraded": degradations(state, live),
            "refused": refused,
        }
    )


@router.get("/metrics", tags=["operate"], summary="Prometheus metrics")
async def metrics(request: Request) -> Response:
    """Return counters and histograms in Prometheus' text format."""
    return Response(generate_latest(_state(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


def release_ref(live: Live) -> dict[str, str]:
    """Return what every answer says about its release."""
    bundle = live.bundle
    return {
        "version": bundle.model.version,
        "digest": bundle.model.digest,
        "dataset": bundle.manifest.dataset,
        "retrieval": bundle.manifest.retrieval.version,
        "ranking": bundle.manifest.ranking.version,
        "index": bundle.index.kind,
    }


def not_ready(state: State) -> str:
    """Say why there is no release, and what to do about it."""
    status = state.watcher.status
    if status.refused:
        version, why = next(iter(status.refused.items()))
        return f"release {version} was refused: {why}"
    if status.registry_error:
        return f"no release in the cache, and the model registry cannot be asked: {status.registry_error}"
    if status.absent:
        return f"no version of `recommender` has the alias {state.settings.alias!r}; run `tandem promote-release`"
    return "the release is still loading; try again in a few seconds"


def degradations(state: State, live: Live) -> dict[str, str]:
    """Return part -> why it is down."""
    parts = {REGISTRY: state.watcher.status.registry_error, "user_features": live.users.failure}
    return {part: reason for part, reason in parts.items() if reason}


def _degraded(state: State, parts: Sequence[str]) -> list[str]:
    """Count and list the parts that were down for one answer; the registry is no part of an answer."""
    for part in parts:
        state.metrics.degraded.labels(part).inc()
    return list(parts)


def _state(request: Request) -> State:
    state: State = request.app.state.tandem
    return state


def _live(state: State) -> Live:
    live: Live | None = state.watcher.live
    if live is None:
        raise PlatformError(not_ready(state))
    return live


def _check_count(count: int, limit: int) -> None:
    if count > limit:
        raise RequestError(f"count is {count}; expected at most {limit}")


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
