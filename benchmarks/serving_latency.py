"""How long does one recommendation take, over HTTP, and where does the time go?

Against a running platform: `python benchmarks/serving_latency.py --url http://127.0.0.1:8000`. Without `--url` it
starts a serving process of its own on a made-up release of `--items` items (hand-made graphs: it shows what the
serving code costs, not what a trained model costs). Prints absolute figures, the release, and the machine.
"""

import argparse
import http.client
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

STAGE = re.compile(r"(\w+);dur=([\d.]+)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running serving component")
    parser.add_argument("--items", type=int, default=20_000, help="items of the made-up release")
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--clients", type=int, default=4, help="connections of the throughput run")
    parser.add_argument("--count", type=int, default=10, help="items asked for")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        url = arguments.url or own_server(stack, arguments.items)
        report(url, arguments)


def report(url: str, arguments: argparse.Namespace) -> None:
    release = get(url, "/v1/release")
    users = release["sample_users"]
    print(f"machine   {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(
        f"release   {release['version']} of {release['dataset']}: {release['num_items']} items, {release['index']} "
        f"index, {release['num_candidates']} candidates, {arguments.count} asked for"
    )
    run(url, users, 200, arguments.count)  # warm
    seconds, stages = run(url, users, arguments.requests, arguments.count)
    print(f"one connection, {arguments.requests} requests: {percentiles(seconds)}")
    for name in stages[0]:
        print(f"  {name:10} {percentiles([stage[name] / 1000 for stage in stages])}")
    server = [sum(stage.values()) / 1000 for stage in stages]
    print(f"  {'http':10} {percentiles([total - own for total, own in zip(seconds, server, strict=True)])}")
    started, results = time.perf_counter(), []
    share = arguments.requests // arguments.clients
    threads = [
        threading.Thread(target=lambda: results.extend(run(url, users, share, arguments.count)[0]))
        for _ in range(arguments.clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(results) / (time.perf_counter() - started)
    print(f"{arguments.clients} connections: {rate:.0f} requests/s, {percentiles(results)} (clients share the machine)")


def run(url: str, users: list[str], num_requests: int, count: int) -> tuple[list[float], list[dict[str, float]]]:
    """Return seconds and milliseconds a stage of each request, sent one after the other."""
    seconds, stages = [], []
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection:
        for i in range(num_requests):
            body = json.dumps({"user_id": users[i % len(users)], "count": count})
            started = time.perf_counter()
            connection.request("POST", "/v1/recommendations", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            seconds.append(time.perf_counter() - started)
            if response.status != 200:
                raise SystemExit(f"request {i} failed with {response.status}: {answer.decode()}")
            stages.append({name: float(value) for name, value in STAGE.findall(response.headers["Server-Timing"])})
    return seconds, stages


def percentiles(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"p50 {1000 * cuts[49]:6.2f} ms   p99 {1000 * cuts[98]:6.2f} ms"


def get(url: str, path: str) -> dict:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection:
        connection.request("GET", path)
        return json.load(connection.getresponse())


def own_server(stack: ExitStack, num_items: int) -> str:
    """Start MLflow and serving on a made-up release; returns the address."""
    from pipelines.contracts import CHAMPION, RECOMMENDER
    from pipelines.stores.base import RunRecord
    from pipelines.stores.feature_store import FeatureStore
    from pipelines.stores.registry import MlflowRegistry
    from tests.support.mlflow_server import mlflow_server
    from tests.support.serving import SERVING_PYTHON, serving_process, wait_until
    from tests.support.tiny_release import write_tiny_release

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    uri = stack.enter_context(mlflow_server(folder / "mlflow"))
    FeatureStore(home=folder / "home", dataset="tiny").apply()
    release = write_tiny_release(folder / "release", num_items=num_items, num_candidates=200, dim=64)
    registry = MlflowRegistry(uri, folder / "cache")
    model = registry.register(RECOMMENDER, release, key="bench", dataset="tiny", record=RunRecord("bench"))
    registry.set_alias(RECOMMENDER, CHAMPION, model.version)
    client, _ = stack.enter_context(serving_process(folder / "home", python=SERVING_PYTHON, mlflow_uri=uri))
    wait_until(lambda: client.get("/readyz").status_code == 200, seconds=120)
    return str(client.base_url)


if __name__ == "__main__":
    main()
