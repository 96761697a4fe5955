from pathlib import Path

import pytest

from pipelines.errors import ConfigError
from serving.settings import load_settings


def test_defaults_need_no_environment():
    settings = load_settings({})
    assert (settings.host, settings.port, settings.alias, settings.poll_seconds) == ("127.0.0.1", 8000, "champion", 2.0)


def test_fields_come_from_prefixed_variables():
    environment = {"TANDEM_HOME": "/srv/tandem", "TANDEM_SERVING__PORT": "9001", "OTHER": "x"}
    settings = load_settings(environment)
    assert settings.home == Path("/srv/tandem")
    assert settings.port == 9001


@pytest.mark.parametrize(
    ("name", "value"),
    [("TANDEM_SERVING__PRT", "1"), ("TANDEM_SERVING__PORT", "zero"), ("TANDEM_SERVING__POLL_SECONDS", "0")],
)
def test_a_bad_variable_is_named_with_its_value(name, value):
    with pytest.raises(ConfigError, match=rf"{name}: .*got '{value}'"):
        load_settings({name: value})
