"""The real platform for tests: a home and ports of its own, driven through the command line as a person does."""

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import REPOSITORY

# Small enough for seconds a task, large enough to learn something.
SMALL = """
source:
  synthetic: {num_events: 8000, num_users: 300, num_items: 150, num_days: 40}
retrieval: {embedding_dim: 16, hidden_units: [32], epochs: 1, batch_size: 256}
ranking: {num_queries: 300, num_candidates: 8, hidden_units: [16], epochs: 1, batch_size: 256}
evaluation: {ks: [10, 50], max_users: 200, num_candidates: 50}
index: {num_queries: 100}
promotion: {min_lift_over_popularity: -1.0, max_regression: 1.0}
"""


@dataclass
class RunningPlatform:
    """One platform: where it is and how to talk to it."""

    home: Path
    ports: dict[str, int]
    config: Path

    @property
    def env(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TANDEM_", "AIRFLOW"))}
        ports = {f"TANDEM_PORTS__{name.upper()}": str(port) for name, port in self.ports.items()}
        return env | ports | {"TANDEM_HOME": str(self.home), "HOME": str(self.person)}

    @property
    def person(self) -> Path:
        """The home folder of the person who runs it: nothing may appear in there."""
        return self.home.with_name("person")

    def tandem(self, *arguments: str, timeout: float = 600, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines", *arguments],
            cwd=REPOSITORY, env=self.env, capture_output=True, text=True, timeout=timeout, check=False, **options,
        )  # fmt: skip

    def json(self, *arguments: str, timeout: float = 600) -> Any:
        result = self.tandem(*arguments, "--json", timeout=timeout)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"


def make_platform(folder: Path, free_port: Any) -> RunningPlatform:
    config = folder / "small.yaml"
    config.write_text(SMALL)
    (folder / "person").mkdir()
    ports = {name: free_port() for name in ("airflow", "mlflow", "serving", "feast")}
    return RunningPlatform(folder / "home", ports, config)


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def registered_versions(platform: RunningPlatform, dataset: str | None = None) -> dict[str, list[str]]:
    """Model -> its versions in MLflow, of one dataset or of all."""
    found = ask(f"{platform.url('mlflow')}/api/2.0/mlflow/model-versions/search?max_results=1000")
    versions: dict[str, list[str]] = {}
    for version in found.get("model_versions", []):
        tags = {tag["key"]: tag["value"] for tag in version.get("tags", [])}
        if dataset in (None, tags.get("tandem.dataset")):
            versions.setdefault(version["name"], []).append(version["version"])
    return {name: sorted(numbers) for name, numbers in versions.items()}


def component_pids(platform: RunningPlatform) -> dict[str, int]:
    return {component["name"]: component["pid"] for component in platform.json("status")["components"]}
