"""Ports: is one free, and if not, who has it."""

import socket

from pipelines.errors import PlatformError

VARIABLES = {name: f"TANDEM_PORTS__{name.upper()}" for name in ("airflow", "mlflow", "serving", "feast")}


def is_free(port: int) -> bool:
    """Whether a server could listen on the port of this machine's loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def require_free(name: str, port: int) -> None:
    """Raise PlatformError naming the port, its holder where that can be seen, and the variable that changes it."""
    if is_free(port):
        return
    raise PlatformError(
        f"port {port}, meant for {name}, is taken by {_holder(port)}. End that, or choose another port: "
        f"{VARIABLES[name]}={port + 10000 if port < 50000 else port - 10000} make run"
    )


def _holder(port: int) -> str:
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid:
                process = psutil.Process(connection.pid)
                return f"process {process.pid} ({' '.join(process.cmdline())[:80] or process.name()})"
    except psutil.Error:
        pass
    return "another program (its process cannot be seen from this account)"
