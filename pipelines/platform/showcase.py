"""One user's history beside what serving recommends them: what a person looks at first."""

from dataclasses import dataclass
from typing import Any

from pipelines.config import Config
from pipelines.contracts import EVENTS, ITEMS
from pipelines.errors import LakeError, PlatformError
from pipelines.stores.serving_client import ServingClient

Json = dict[str, Any]
MIN_EVENTS = 5
GONE = "not shown: the lake has the release's snapshot no more"


@dataclass(frozen=True)
class Showcase:
    """What is shown of a served release.

    Attributes:
        user_id: a user of the holdout.
        history: titles, newest first.
        recommendations: titles, best first.
        release: as `/v1/release` says.
    """

    user_id: str
    history: list[str]
    recommendations: list[str]
    release: Json


def showcase(config: Config, outcome: str, *, count: int = 8) -> Showcase:
    """Ask serving for its release and, over HTTP, for one of its sample users' recommendations.

    Args:
        config: of the platform.
        outcome: of the promotion before, in words.
        count: titles of each list.

    Raises:
        PlatformError: serving does not answer, or has no release.
    """
    serving = ServingClient(config.serving_url)
    release = serving.release()
    if release["version"] is None:
        raise PlatformError(
            f"nothing is served yet: {outcome or release.get('reason')}. The run's evaluation page in Airflow compares "
            "the models; train another one (`--set retrieval.model=NAME`, see `tandem models`), or set "
            "`promotion.min_lift_over_popularity` lower"
        )
    user_id, past = _user_with_history(config, release, count)
    answer = serving.recommend(user_id, count=count)
    titles = [item["title"] or item["item_id"] for item in answer["items"]]
    return Showcase(user_id, past, titles, release)


def _user_with_history(config: Config, release: Json, count: int) -> tuple[str, list[str]]:
    """Return the first sample user with a history worth showing, else the one with the longest."""
    best = (str(release["sample_users"][0]), list[str]())
    for user_id in map(str, release["sample_users"]):
        try:
            past = history(config, release, user_id, count=count)
        except LakeError:  # its versions go when a user is forgotten, and the release is served on
            return user_id, [GONE]
        if len(past) > len(best[1]):
            best = (user_id, past)
        if len(past) >= MIN_EVENTS:
            break
    return best


def history(config: Config, release: Json, user_id: str, *, count: int) -> list[str]:
    """Return titles of the user's newest items in the release's snapshot, newest first."""
    import duckdb

    from pipelines.data.lake import Lake

    versions = release["snapshot"]["versions"]
    root = config.services.lake_uri or str(config.home / "lake")
    lake = Lake(f"{root}/{release['dataset']}")
    query = """
        with newest as (
            select item_id, max(event_timestamp) as moment from read_parquet($events)
            where user_id = $user group by item_id order by moment desc, item_id limit $count
        ), titles as (
            select item_id, arg_max(title, updated_at) as title from read_parquet($items) group by item_id
        )
        select coalesce(title, item_id) from newest left join titles using (item_id) order by moment desc, item_id
    """
    files = {table: lake.files(table, version=versions[table]) for table in (EVENTS, ITEMS)}
    with duckdb.connect() as connection:
        rows = connection.execute(query, {**files, "user": user_id, "count": count}).fetchall()
    return [str(title) for (title,) in rows]
