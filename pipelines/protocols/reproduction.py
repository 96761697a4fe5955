"""Run a protocol: every contender once a seed, beside what others published."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.protocols.base import Contender, Part, Protocol

Json = dict[str, Any]


def reproduce(
    protocol: Protocol, data: Path, *, models: Sequence[str], settings: Mapping[str, Any], num_seeds: int, part: Part
) -> Json:
    """Return the result as JSON: what the protocol is, and the metrics of each contender, mean and each seed's.

    Args:
        protocol: what to run.
        data: folder with the folders of published files.
        models: names of contenders or of models of the catalogue; empty takes the protocol's own.
        settings: over those of each contender.
        num_seeds: runs of each contender that has something random, with seeds from 0.
        part: the test, or the validation part that settings are chosen by.

    Raises:
        ConfigError: a model or a setting is unknown.
        SourceError: a data file is missing.
    """
    contenders = [_with(contender, settings) for contender in _chosen(protocol, models)]
    values: list[list[Json]] = [[] for _ in contenders]
    for seed in range(num_seeds):
        running = [number for number, contender in enumerate(contenders) if contender.is_random or seed == 0]
        parts = protocol.split(data, seed) if running else None
        for number in running:
            values[number].append(_timed(protocol, contenders[number], parts, part, seed))
    results = [_result(protocol, contender, runs) for contender, runs in zip(contenders, values, strict=True)]
    return {
        "protocol": protocol.name,
        "data": protocol.data,
        "part": part,
        "inputs": protocol.inputs,
        "removed": protocol.removed,
        "metrics": list(protocol.metrics),
        "published": [asdict(published) for published in protocol.published],
        "goal": dict(protocol.goal),
        "results": results,
    }


def _timed(protocol: Protocol, contender: Contender, parts: Any, part: Part, seed: int) -> Json:
    started = time.process_time()
    values = protocol.measure(contender, parts, part, seed)
    return values | {"processor_seconds": time.process_time() - started}


def _result(protocol: Protocol, contender: Contender, runs: list[Json]) -> Json:
    means = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
    deviations = {name: float(np.std([run[name] for run in runs])) for name in runs[0]}
    return {
        **asdict(contender),
        "num_seeds": len(runs),
        "mean": means,
        "deviation": deviations,
        "each": runs,
        "met": protocol.met(means) if protocol.goal else None,
    }


def _chosen(protocol: Protocol, models: Sequence[str]) -> Iterator[Contender]:
    if not models:
        yield from protocol.contenders
    for name in models:
        own = [contender for contender in protocol.contenders if name in (contender.name, contender.model)]
        # A model of the catalogue that the protocol does not name runs with its defaults, once a seed.
        yield from own or [Contender(name, name, is_random=True)]


def _with(contender: Contender, settings: Mapping[str, Any]) -> Contender:
    if not settings:
        return contender
    return replace(contender, settings={**contender.settings, **settings})
