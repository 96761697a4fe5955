"""The services profile on paper: docker-compose.yml, its images, its secrets and its environment."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.compose import (
    REPOSITORY,
    compose,
    compose_schema,
    env_file,
    filled_env,
    raw_compose,
    script,
)

make_env = script("make_env")
SECRET_NAME = re.compile(
    r"PASSWORD|SECRET|KEY|AUTH|TOKEN|SQL_ALCHEMY_CONN|STORE_URI|REGISTRY_URL|REDIS$|BROKER_URL|RESULT_BACKEND|DATABASES?$"
)
NOT_SECRET = re.compile(r"SIMPLE_AUTH_MANAGER")
EXAMPLE = REPOSITORY / ".env.example"
SERVICES = raw_compose()["services"]
LONG_RUNNING = sorted(set(SERVICES) - {"init"})
AIRFLOW_CORE = {"airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"}
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("tandem-"))


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    return filled_env()


class TestFile:
    def test_is_valid_compose(self, variables: dict[str, str]) -> None:
        jsonschema.Draft202012Validator(compose_schema()).validate(compose(variables))

    @pytest.mark.parametrize(
        ("key", "value"), [("comand", ["x"]), ("healthcheck", {"tests": "x"}), ("cap_drop", "ALL")]
    )
    def test_schema_refuses_what_compose_would(self, variables: dict[str, str], key: str, value: Any) -> None:
        broken = copy.deepcopy(compose(variables))
        broken["services"]["mlflow"][key] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(compose_schema()).validate(broken)

    @pytest.mark.parametrize("name", LONG_RUNNING)
    def test_has_a_health_check_and_restarts(self, name: str) -> None:
        check = SERVICES[name]["healthcheck"]
        assert check["test"][0] in ("CMD", "CMD-SHELL")
        assert {"interval", "timeout", "retries"} <= set(check)
        assert SERVICES[name]["restart"] == "unless-stopped"

    @pytest.mark.parametrize("name", sorted(SERVICES))
    def test_has_least_privilege(self, name: str) -> None:
        service = SERVICES[name]
        assert service["user"] not in ("root", "0", "0:0")
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert "privileged" not in service
        assert "docker.sock" not in str(service.get("volumes"))

    @pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OURS)))
    def test_foreign_image_is_pinned_by_tag(self, name: str) -> None:
        tag = SERVICES[name]["image"].partition(":")[2]
        assert re.match(r"\d+(\.\d+)?", tag), SERVICES[name]["image"]

    def test_publishes_three_ports_on_loopback(self, variables: dict[str, str]) -> None:
        published = {name: s["ports"] for name, s in compose(variables)["services"].items() if "ports" in s}
        assert published == {
            "airflow-api-server": ["127.0.0.1:8080:8080"],
            "mlflow": ["127.0.0.1:5000:5000"],
            "serving": ["127.0.0.1:8000:8000"],
        }

    def test_only_published_services_leave_the_internal_network(self) -> None:
        outside = {name for name, service in SERVICES.items() if "published" in service["networks"]}
        assert outside == {name for name, service in SERVICES.items() if "ports" in service}
        assert raw_compose()["networks"]["backend"] == {"internal": True}

    def test_volumes_are_declared_and_used(self) -> None:
        mounted = {mount.split(":")[0] for s in SERVICES.values() for mount in s.get("volumes", [])}
        assert {m for m in mounted if re.fullmatch(r"\w+", m)} == set(raw_compose()["volumes"])
        for source in (m for m in mounted if m.startswith("./")):
            assert (REPOSITORY / source).exists(), source

    def test_dependencies_wait_for_health_or_completion(self) -> None:
        for name, service in SERVICES.items():
            for other, condition in service.get("depends_on", {}).items():
                expected = "service_completed_successfully" if other == "init" else "service_healthy"
                assert condition == {"condition": expected}, (name, other)


class TestSecrets:
    def test_every_empty_example_value_is_required(self, variables: dict[str, str]) -> None:
        empty = [name for name, value in env_file(EXAMPLE).items() if not value]
        assert len(empty) == len(env_file(EXAMPLE)), "the example sets a value; only comments may show defaults"
        for name in empty:
            with pytest.raises(KeyError, match=f"{name} is empty; run python3 docker/make_env.py"):
                compose({**variables, name: ""})

    def test_example_itself_is_refused(self) -> None:
        with pytest.raises(KeyError, match="make_env"):
            compose(env_file(EXAMPLE))

    @pytest.mark.parametrize("name", sorted(SERVICES))
    def test_no_secret_has_a_literal_or_default(self, name: str) -> None:
        for key, value in SERVICES[name].get("environment", {}).items():
            if SECRET_NAME.search(key) and not NOT_SECRET.search(key):
                assert re.search(r"\$\{\w+:\?", str(value)), f"{name}.{key}"
            assert not re.search(r":[^$/{}@\s]+@", str(value)), f"{name}.{key} carries a literal password"

    def test_no_secret_is_on_a_command_line(self, variables: dict[str, str]) -> None:
        secrets = {value for value in variables.values() if len(value) > 20}
        for name, service in compose(variables)["services"].items():
            words = str([service.get(k) for k in ("command", "entrypoint", "healthcheck", "labels")])
            assert not any(secret in words for secret in secrets), name

    def test_services_see_only_their_own(self, variables: dict[str, str]) -> None:
        seen = {name: str(s.get("environment")) for name, s in compose(variables)["services"].items()}
        holders = lambda key: {name for name, text in seen.items() if variables[key] in text}  # noqa: E731 - short, and used here alone
        assert holders("POSTGRES_PASSWORD") == {"postgres"}
        assert holders("AIRFLOW_ADMIN_PASSWORD") == {"airflow-api-server"}
        assert holders("MLFLOW_DATABASE_PASSWORD") == {"postgres", "init", "mlflow"}
        assert holders("AIRFLOW_DATABASE_PASSWORD") == {"postgres", "init", *AIRFLOW_CORE}
        assert holders("AIRFLOW_JWT_SECRET") == holders("AIRFLOW_FERNET_KEY") == {"init", *AIRFLOW_CORE}
        assert holders("MLFLOW_S3_SECRET_KEY") == {"s3", "init", "mlflow"}
        assert not any(
            variables[key] in seen["serving"] for key in variables if key.startswith(("AIRFLOW", "LAKE", "MLFLOW"))
        )

    def test_make_env_fills_all_and_is_private(self, tmp_path: Path) -> None:
        make_env.write(EXAMPLE, tmp_path / ".env")
        written = env_file(tmp_path / ".env")
        assert written.keys() == env_file(EXAMPLE).keys()
        assert len(set(written.values())) == len(written)
        assert all(len(value) >= 40 for value in written.values())
        assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600

    def test_make_env_never_replaces(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("KEEP=1\n")
        with pytest.raises(FileExistsError):
            make_env.write(EXAMPLE, tmp_path / ".env")
        assert (tmp_path / ".env").read_text() == "KEEP=1\n"


class TestImages:
    def test_stages_end_without_root(self) -> None:
        stages = _stages()
        assert {"base", "platform", "serving"} <= stages.keys()
        for name in ("platform", "serving"):
            assert [line for line in stages[name] if line.startswith("USER ")] == ["USER 10001:10001"]
        assert all(s["user"] == "10001:10001" for name, s in SERVICES.items() if name in OURS)
        built = {service["image"]: service["build"]["target"] for service in SERVICES.values() if "build" in service}
        assert built.keys() == {SERVICES[name]["image"] for name in OURS}
        assert set(built.values()) <= stages.keys()

    def test_image_is_built_once_and_before_it_is_used(self) -> None:
        builders = {service["image"]: name for name, service in SERVICES.items() if "build" in service}
        assert len(builders) == sum("build" in service for service in SERVICES.values())
        for name in set(OURS) - set(builders.values()):
            assert SERVICES[name]["pull_policy"] == "never"
            assert builders[SERVICES[name]["image"]] in SERVICES[name]["depends_on"]

    def test_base_image_is_pinned_and_packages_are_hashed(self) -> None:
        text = (REPOSITORY / "docker" / "Dockerfile").read_text()
        assert "ARG PYTHON_IMAGE=python:3.11-slim-bookworm" in text
        installs = re.findall(r"^.*pip install.*$", text, flags=re.MULTILINE)
        assert len(installs) == 3
        assert all("--require-hashes" in line for line in installs)

    def test_what_is_copied_exists_and_is_not_ignored(self) -> None:
        allowed = {
            line.removeprefix("!")
            for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
            if line.startswith("!")
        }
        for lines in _stages().values():
            for source in (line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line):
                assert (REPOSITORY / source).exists(), source
                assert any(Path(source).match(pattern) or source.split("/")[0] == pattern for pattern in allowed), (
                    source
                )

    def test_serving_lock_has_no_tensorflow(self) -> None:
        lock = (REPOSITORY / "requirements" / "serving.txt").read_text()
        assert not re.search(r"^(tensorflow|apache-airflow|great-expectations|mlflow)==", lock, flags=re.MULTILINE)

    @pytest.mark.parametrize("script", sorted(p.name for p in (REPOSITORY / "docker").glob("*.sh")))
    def test_script_parses(self, script: str) -> None:
        subprocess.run(["sh", "-n", str(REPOSITORY / "docker" / script)], check=True)


def _stages() -> dict[str, list[str]]:
    stages: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (REPOSITORY / "docker" / "Dockerfile").read_text().splitlines():
        if match := re.match(r"FROM .+ AS ([\w-]+)", line):
            lines = stages.setdefault(match[1], [])
        lines.append(line)
    return stages


class TestEnvironment:
    def test_airflow_knows_every_option(self) -> None:
        """A misspelt AIRFLOW__X__Y is silently ignored by Airflow, so its own list of options decides."""
        code = (
            "import sys; from airflow.configuration import conf;"
            "from airflow.providers_manager import ProvidersManager;"
            "ProvidersManager().initialize_providers_configuration();"
            "sections = conf.configuration_description.items();"
            "known = {f'AIRFLOW__{s}__{option}'.upper() for s, v in sections for option in v['options']};"
            "print(sorted(set(sys.argv[1:]) - known))"
        )
        names = {key for s in SERVICES.values() for key in s.get("environment", {}) if key.startswith("AIRFLOW__")}
        done = subprocess.run(
            [sys.executable, "-c", code, *sorted(names)], capture_output=True, text=True, check=True, timeout=120
        )
        assert done.stdout.strip().splitlines()[-1] == "[]"

    @pytest.mark.parametrize("name", ["init", "airflow-worker"])
    def test_steps_accept_the_environment(
        self, name: str, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
    ) -> None:
        from pipelines.settings import load_config

        for key in [key for key in os.environ if key.startswith("TANDEM_")]:
            monkeypatch.delenv(key)
        for key, value in compose(variables)["services"][name]["environment"].items():
            monkeypatch.setenv(key, value)
        config = load_config()
        assert config.mlflow_uri == "http://mlflow:5000"
        assert config.serving_url == "http://serving:8000"
        assert config.lake_uri == "s3://lake/synthetic"
        assert (REPOSITORY / "feature_repo" / Path(config.services.feature_store_yaml).name).exists()
