"""The documentation says what is there: links, commands, flags, settings, requests and metrics are checked."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config import Config, Section

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / ".github").glob("*.md")])
ADRS = sorted((REPOSITORY / "docs" / "adr").glob("*.md"))
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)


def _page(name: str) -> str:
    return (REPOSITORY / name).read_text()


def _blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind == language]


def _prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _defaults(model: type[Section], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if isinstance(field.default, Section):
            yield from _defaults(type(field.default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_relative_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.MULTILINE)
            assert anchor in map(_anchor, headings), target


def _commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for text in _blocks(page, "bash"):
            lines = [line.strip().split("  #")[0] for line in text.replace("\\\n", " ").splitlines()]
            found += [(page.name, re.sub(r"^(\w+=\S+ )+", "", line)) for line in lines]
    return found


@pytest.mark.parametrize(("page", "line"), [c for c in _commands() if re.match(r"(\.venv/bin/)?tandem ", c[1])])
def test_tandem_command_parses(page: str, line: str) -> None:
    from pipelines.cli.main import parser

    parser().parse_args(shlex.split(line.split(" > ")[0], comments=True)[1:])


def test_a_wrong_command_would_be_found() -> None:
    from pipelines.cli.main import parser

    for line in ("no-such-step", "run --sauce synthetic"):
        with pytest.raises(SystemExit):
            parser().parse_args(line.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_tandem_commands_in_prose_exist(page: Path) -> None:
    from pipelines.cli.main import parser

    (commands,) = [action.choices for action in parser()._subparsers._group_actions]  # type: ignore[union-attr]  # argparse has no public way
    for name in re.findall(r"`tandem ([a-z][a-z-]*)", _prose(page)):
        assert name in (commands or {}), name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_make_targets_exist(page: Path) -> None:
    makefile = _page("Makefile")
    for name in re.findall(r"(?:`|^ *)make ([a-z-]+)", page.read_text(), flags=re.MULTILINE):
        assert re.search(rf"^{name}:", makefile, flags=re.MULTILINE), name


@pytest.mark.parametrize(("page", "line"), [c for c in _commands() if "docker compose exec" in c[1]])
def test_compose_services_exist(page: str, line: str) -> None:
    words = line.split()
    assert words[3] in yaml.safe_load(_page("docker-compose.yml"))["services"]


def test_the_settings_page_is_that_of_the_code() -> None:
    from docs.make_configuration import page

    assert page() == _page("docs/configuration.md"), "run: python docs/make_configuration.py"
    assert "|  |" not in page(), "a setting has no description"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_settings_named_anywhere_exist(page: Path) -> None:
    sections = "|".join(name for name, field in Config.model_fields.items() if isinstance(field.default, Section))
    known = dict(_defaults(Config))
    for key in re.findall(rf"(?<![\w./-])((?:{sections})\.[a-z_]+(?:\.[a-z_]+)?)(?![\w(/])", page.read_text()):
        of_a_model = known.get(key.rpartition(".")[0]) == {}  # such as retrieval.settings.history_decay
        assert key in known or of_a_model or key.endswith((".py", ".md", ".txt", ".json")), key
    for name in re.findall(r"TANDEM_([A-Z]+__[A-Z_]+)", page.read_text()):
        section, _, field = name.lower().partition("__")
        assert section in ("serving", "section") or f"{section}.{field}" in known, name


def test_every_serving_setting_is_documented() -> None:
    from serving.settings import Settings

    text = _page("docs/serving.md")
    missing = [name for name in Settings.model_fields if name != "home" and f"`{name.upper()}`" not in text]
    assert missing == []


def test_serving_endpoints_are_documented() -> None:
    from serving.routes import router

    text = _page("docs/serving.md")
    for route in router.routes:
        path = str(getattr(route, "path", "")).replace(":path}", "}")
        assert any(f"`{method} {path}`" in text for method in getattr(route, "methods", ())), path


def test_requests_shown_are_valid() -> None:
    from serving.schemas import EventsRequest, RecommendationRequest

    models = {"/v1/recommendations": RecommendationRequest, "/v1/events": EventsRequest}
    shown_bodies = 0
    for page in PAGES:
        for text in _blocks(page, "bash"):
            for path, body in re.findall(r"localhost:8000(\S+) [^'\n]*'[^']+'\s*\\?\s*-d '([^']+)'", text):
                models[path].model_validate(json.loads(body))
                shown_bodies += 1
    assert shown_bodies >= 4


def test_metrics_named_exist() -> None:
    from prometheus_client import generate_latest

    from serving.freshness import Freshness
    from serving.metrics import Metrics

    metrics = Metrics()
    Freshness({}, metrics)
    there = generate_latest(metrics.registry).decode()
    for page in PAGES:
        for name in re.findall(r"`(tandem_[a-z_]+)`", page.read_text()):
            assert re.search(rf"^# TYPE {name} ", there, flags=re.MULTILINE), name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_named_exist(page: Path) -> None:
    folders = "benchmarks|configs|dags|docker|docs|feature_repo|pipelines|requirements|serving|tests"
    for name in re.findall(rf"`(?:\S* )?((?:{folders})/[\w./-]+\.(?:py|md|yaml|yml|sh|txt))", page.read_text()):
        assert (REPOSITORY / name).exists(), name


def test_the_mapping_shown_is_legal() -> None:
    from pipelines.sources.mapping import SourceMapping

    shown_mappings = _blocks(REPOSITORY / "docs" / "tutorial.md", "yaml")
    assert shown_mappings
    for text in shown_mappings:
        SourceMapping.model_validate(yaml.safe_load(text))


@pytest.mark.parametrize("adr", ADRS, ids=lambda p: p.stem)
def test_decisions_have_their_parts(adr: Path) -> None:
    text = adr.read_text()
    assert re.match(rf"# {int(adr.name[:4])}\. ", text)
    assert re.findall(r"^\*\*(\w+)", text, flags=re.MULTILINE) == ["Context", "Decision", "Consequences", "Violated"]


def test_contributing_stays_short() -> None:
    assert len(_page("CONTRIBUTING.md").splitlines()) <= 40


def test_no_lock_names_an_address() -> None:
    for lock in (REPOSITORY / "requirements").glob("*.txt"):
        assert not re.search(r"https?://|--index-url|--find-links", lock.read_text()), lock.name


def test_env_files_are_never_committed() -> None:
    done = subprocess.run(["git", "check-ignore", "-q", ".env"], cwd=REPOSITORY, check=False)
    assert done.returncode in (0, 128), ".env is not ignored"
