"""What a person sees: progress while waiting, and the last screen of a run."""

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipelines.config import Config
from pipelines.platform.airflow_client import TaskState
from pipelines.platform.secrets import USER, password_file
from pipelines.platform.showcase import Showcase
from pipelines.platform.supervisor import Health

Json = dict[str, Any]
METRICS = ("recall_at_10", "recall_at_50", "ndcg_at_10", "mrr_at_10")
SYSTEMS = ("recommender", "retrieval", "popularity", "champion", "oracle")
DONE = {"success": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("-", "yellow"), "healthy": ("✓", "green")}


class Progress:
    """Shows what is under way, live on a terminal; elsewhere one line for each thing that ended.

    It writes to standard error: standard output belongs to results.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._live = Live(console=self.console, transient=True, refresh_per_second=8)
        self._said: set[str] = set()
        self._begun = time.monotonic()

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line once."""
        if text not in self._said:
            self._said.add(text)
            self.console.print(text, soft_wrap=True)

    def platform(self, states: Sequence[Health]) -> None:
        """Show the components that are starting."""
        for health in states:
            if health.state == "healthy":
                self._ended(health.name, "healthy", time.monotonic() - self._begun)
        self._show([(h.name, h.state, h.seconds) for h in states if h.state in ("starting", "dead")], "starting")

    def run(self, state: str, tasks: Sequence[TaskState]) -> None:
        """Show the tasks of a DAG run."""
        for task in tasks:
            if task.state in DONE:
                self._ended(task.name, task.state, task.seconds)
        busy = [(t.name, t.state or "", t.seconds) for t in tasks if t.state not in (*DONE, None, "upstream_failed")]
        done = sum(task.state in DONE for task in tasks)
        self._show(busy, f"{done} of {len(tasks)} tasks done")

    def _ended(self, name: str, state: str, seconds: float) -> None:
        mark, color = DONE[state]
        key = f"{name} {state}"
        if key not in self._said:
            self._said.add(key)
            self.console.print(f"  [{color}]{mark}[/] {name:<24}{seconds:7.1f} s")

    def _show(self, busy: Sequence[tuple[str, str, float]], caption: str) -> None:
        if not self.console.is_terminal:
            return
        lines = [Spinner("dots", f"{name:<24}{seconds:7.1f} s  {state}") for name, state, seconds in busy]
        total = time.monotonic() - self._begun
        self._live.update(Group(*lines, Text(f"  {caption}, {total:.0f} s", style="dim")))


def print_addresses(config: Config, console: Console) -> None:
    """Print where the interfaces are and how to log in."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_row("Airflow", f"http://127.0.0.1:{config.ports.airflow}", f"user {USER}, password {_password(config)}")
    table.add_row("MLflow", config.mlflow_uri, "registered model: recommender")
    table.add_row("Serving", config.serving_url, "try it at /docs")
    table.add_row("Feast", f"http://127.0.0.1:{config.ports.feast}", "features and where they are used")
    console.print(table)


def print_last_screen(config: Config, shown: Showcase, outcome: str, seconds: float) -> None:
    """Print the screen that ends `tandem run`."""
    console = Console(highlight=False)
    release = shown.release
    console.print()
    print_addresses(config, console)
    console.print(
        f"\n[bold]Champion[/]: recommender version {release['version']} ({release['dataset']}, known up to "
        f"{str(release['as_of'])[:16]}, {release['num_items']:,} items, {release['index']} index)"
    )
    console.print(f"[dim]{outcome}[/]\n")
    console.print(_metrics(release["metrics"]))
    console.print(_side_by_side(shown))
    commands = ("status", f"recommend {shown.user_id}", f"explain {shown.user_id} ITEM")
    console.print("\nServed over HTTP. Look further, and end it:")
    for command in (*(f".venv/bin/tandem {rest}" for rest in commands), "make stop"):
        console.print(f"  [bold]{command}[/]")
    console.print(f"Done in {seconds:.0f} s.")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print rows as a table on standard output."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    Console(highlight=False).print(table)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    import json

    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def _metrics(metrics: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table("holdout", *METRICS)
    for system in (name for name in SYSTEMS if name in metrics):
        values = [metrics[system].get(metric) for metric in METRICS]
        table.add_row(system, *("" if value is None else f"{value:.4f}" for value in values))
    return table


def _side_by_side(shown: Showcase) -> Table:
    table = Table(f"user {shown.user_id}: newest first", "recommended: best first")
    length = max(len(shown.history), len(shown.recommendations))
    for row in range(length):
        table.add_row(*(titles[row] if row < len(titles) else "" for titles in (shown.history, shown.recommendations)))
    return table


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _password(config: Config) -> str:
    import json

    path = password_file(config.home / "airflow")
    return str(json.loads(path.read_text())[USER]) if path.exists() else f"in {path} after `tandem up`"
