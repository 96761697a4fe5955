"""`tandem leakage-check`: prove that a training set, and the model made from it, knew only the past."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_config_options, confine, resolve
from pipelines.errors import ConfigError

Json = dict[str, Any]
ABOUT = "prove that training rows and the model made from them knew only the past"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("leakage-check", help=ABOUT, description=ABOUT)
    add_config_options(command)
    references = "JSON that an earlier step printed; default: what was trained last for the dataset"
    command.add_argument("--training-set", metavar="FILE", help=references)
    command.add_argument("--retrieval", metavar="FILE", help="model version made from --training-set, as JSON")
    command.add_argument("--ranking-set", metavar="FILE", help="check a ranking model instead: what it was trained on")
    command.add_argument("--ranking", metavar="FILE", help="ranking version made from --ranking-set, as JSON")
    command.add_argument("--json", action="store_true", help="print the report as JSON")
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Print every check; 0 if nothing was found, else 1."""
    from pipelines.contracts import LeakageReport
    from pipelines.errors import LeakageError
    from pipelines.platform.screens import print_json
    from pipelines.steps.check_leakage import require_clean

    config = resolve(parsed)["config"]
    confine(config)
    report = _report(parsed, config)
    if parsed.json:
        print_json(report)
    else:
        _print(report)
    try:
        require_clean(LeakageReport(**report))
    except LeakageError as error:
        print(f"tandem leakage-check: {error}", file=sys.stderr)
        return 1
    return 0


def _report(parsed: argparse.Namespace, config: str) -> Json:
    if bool(parsed.ranking_set) != bool(parsed.ranking):
        raise ConfigError("--ranking-set and --ranking belong together; give both, or none of them")
    if parsed.ranking:
        return entrypoints.report_ranking_leakage(config, _read(parsed.ranking_set), _read(parsed.ranking))
    return entrypoints.report_leakage(config, *_references(parsed, config))


def _references(parsed: argparse.Namespace, config: str) -> tuple[Json, Json | None]:
    """Return the training set and the retrieval version to check: those named, or those published last."""
    if parsed.training_set:
        return _read(parsed.training_set), _read(parsed.retrieval) if parsed.retrieval else None
    if parsed.retrieval:
        raise ConfigError("--retrieval needs --training-set, the one it was made from")
    evaluation = entrypoints.receive("models", None, {"dataset": entrypoints.read_config(config).dataset})["evaluation"]
    return evaluation["training_set"], evaluation["retrieval"]


def _read(file: str) -> Json:
    try:
        return dict(json.loads(Path(file).read_text()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} is not JSON of a step ({error}); expected what an earlier step printed") from error


def _print(report: Json) -> None:
    from pipelines.platform.screens import print_table

    rows = [
        (check["name"].replace("_", " "), "LEAK" if check["findings"] else "clean", f"{check['num_checked']:,}")
        for check in report["checks"]
    ]
    print_table(("check", "result", "checked"), rows, title=f"leakage check of {report['dataset']}")
    found = [(c["name"], f["feature"], f["problem"]) for c in report["checks"] for f in c["findings"]]
    if found:
        print_table(("check", "what", "problem"), found)
    print(f"report: {report['uri']}/report.html")
