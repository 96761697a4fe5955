"""How long from posting an event to one serving process until the answers of another are made with it?

`python benchmarks/event_to_feature.py` starts two `python -m serving` on one home and one made-up release, first with
events in files, then, where `redis-server` is installed, in Redis. Each of `--events` events is posted to one process;
from then on the other is asked, without pause, until its features hold the event. Beside that `--background` events a
second are posted. Prints seconds from before the post until acknowledged and until seen, and the goal: 2 s at p99.
"""

import argparse
import os
import platform
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.serving_latency import percentiles

GOAL_SECONDS = 2.0


def main() -> None:
    """Measure both places and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--background", type=float, default=50.0, help="other events posted a second")
    arguments = parser.parse_args()
    print(f"machine   {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    for place in ("files", "redis") if shutil.which("redis-server") else ("files",):
        with ExitStack() as stack:
            report(place, *servers(stack, place), arguments)


def report(place: str, one, other, arguments: argparse.Namespace) -> None:
    acknowledged, seen = [], []
    with background(one, arguments.background) as posted:
        for number in range(arguments.events):
            user = f"probe-{number}"
            started = time.perf_counter()
            post(one, user)
            acknowledged.append(time.perf_counter() - started)
            while not other.post("/v1/recommendations", json={"user_id": user, "count": 1}).json()["user_known"]:
                pass
            seen.append(time.perf_counter() - started)
            # Looks at the log are periodic: events must not fall into step with them.
            time.sleep(random.uniform(0, 0.1))
    print(f"{place:6} {arguments.events} events, {len(posted)} others meanwhile")
    print(f"       acknowledged  {percentiles(acknowledged)}   worst {1000 * max(acknowledged):6.2f} ms")
    print(f"       seen          {percentiles(seen)}   worst {1000 * max(seen):6.2f} ms")
    late = sum(seconds > GOAL_SECONDS for seconds in seen)
    print(f"       {late} of {len(seen)} later than {GOAL_SECONDS:g} s; the goal allows {len(seen) // 100}")


def post(client, user: str) -> None:
    event = {"user_id": user, "item_id": "003", "event_type": "view", "value": 4.0}
    client.post("/v1/events", json={"events": [event]}).raise_for_status()


@contextmanager
def background(client, rate: float) -> Iterator[list[int]]:
    """Post events of other users, `rate` a second, until the block ends."""
    import httpx

    stop, posted = threading.Event(), []

    def run() -> None:
        with httpx.Client(base_url=client.base_url, timeout=20, trust_env=False) as own:
            while rate and not stop.wait(1 / rate):
                post(own, f"other-{len(posted) % 1000}")
                posted.append(1)

    thread = threading.Thread(target=run)
    thread.start()
    yield posted
    stop.set()
    thread.join()


def servers(stack: ExitStack, place: str):
    """Start MLflow, Redis if wanted, and two serving processes; returns a client of each."""
    from pipelines.contracts import CHAMPION, RECOMMENDER
    from pipelines.stores.base import RunRecord
    from pipelines.stores.feature_store import FeatureStore
    from pipelines.stores.registry import MlflowRegistry
    from tests.support.mlflow_server import mlflow_server
    from tests.support.redis_server import redis_server
    from tests.support.serving import SERVING_PYTHON, serving_process, wait_until
    from tests.support.tiny_release import write_tiny_release

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    if place == "redis":
        (folder / "redis").mkdir()
        os.environ["SERVED_REDIS"] = stack.enter_context(redis_server(folder / "redis"))
    uri = stack.enter_context(mlflow_server(folder / "mlflow"))
    FeatureStore(home=folder / "home", dataset="tiny").apply()
    release = write_tiny_release(folder / "release", num_items=2_000, num_candidates=50, dim=16)
    registry = MlflowRegistry(uri, folder / "cache")
    model = registry.register(RECOMMENDER, release, key="bench", dataset="tiny", record=RunRecord("bench"))
    registry.set_alias(RECOMMENDER, CHAMPION, model.version)
    clients = []
    for _ in range(2):
        client, _process = stack.enter_context(
            serving_process(folder / "home", python=SERVING_PYTHON, mlflow_uri=uri, served_log=place)
        )
        clients.append(client)
    for client in clients:
        wait_until(lambda client=client: client.get("/readyz").status_code == 200, seconds=120)
    return clients


if __name__ == "__main__":
    main()
