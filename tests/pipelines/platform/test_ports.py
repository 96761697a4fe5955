"""A taken port is said plainly."""

import socket

import pytest

from pipelines.errors import PlatformError
from pipelines.platform.ports import is_free, require_free


def test_a_free_port_is_fine(free_port) -> None:
    port = free_port()
    assert is_free(port)
    require_free("serving", port)


def test_a_taken_port_names_itself_its_holder_and_the_variable() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PlatformError) as caught:
            require_free("mlflow", port)
    message = str(caught.value)
    assert f"port {port}" in message
    assert "process " in message
    assert "TANDEM_PORTS__MLFLOW=" in message
