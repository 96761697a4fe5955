"""Published protocols: which there are, and running one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.entrypoints.adapters import Json
from pipelines.errors import ConfigError


def list_protocols() -> list[Json]:
    """Return each protocol with its best published figure and the goal."""
    from dataclasses import asdict

    from pipelines.protocols.catalogue import PROTOCOLS

    return [
        {
            "name": protocol.name,
            "data": protocol.data,
            "about": protocol.split.__doc__,
            "metrics": list(protocol.metrics),
            "published": [asdict(published) for published in protocol.published],
            "goal": dict(protocol.goal),
            "contenders": [contender.name for contender in protocol.contenders],
        }
        for protocol in PROTOCOLS.values()
    ]


def reproduce(
    name: str, data: str, *, models: Sequence[str] = (), settings: Mapping[str, Any] | None = None,
    num_seeds: int = 3, part: str = "test",
) -> Json:  # fmt: skip
    """Run a protocol on the published files below `data`; returns every figure as JSON."""
    from pipelines.protocols.catalogue import protocol_named
    from pipelines.protocols.reproduction import reproduce as run

    if num_seeds < 1:
        raise ConfigError(f"{num_seeds} seeds were asked for; expected at least 1")
    protocol = protocol_named(name)
    return run(
        protocol,
        Path(data),
        models=models,
        settings=settings or {},
        num_seeds=num_seeds,
        part="validation" if part == "validation" else "test",
    )
