"""Run a protocol: every contender once a seed, beside what others published."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.models.significance import PerUser, bootstrap_interval, compare_with
from pipelines.protocols.base import LOWER_IS_BETTER, Contender, Part, Protocol
from pipelines.protocols.measures import Measures

Json = dict[str, Any]
SEED = 0  # of the draws of users


@dataclass(frozen=True)
class _Run:
    """Values of one seed, and the sums of users they are made of."""

    values: dict[str, float]
    per_user: Mapping[str, PerUser]


def reproduce(
    protocol: Protocol, data: Path, *, models: Sequence[str], settings: Mapping[str, Any], num_seeds: int, part: Part
) -> Json:
    """Return the result as JSON: what the protocol is, the metrics of each contender, and how sure they are.

    A contender has means and deviations over seeds, each seed's values, and 95 % intervals over users; `differences`
    says how far the best on the deciding metric is above each other on the same users.

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
    runs: list[list[_Run]] = [[] for _ in contenders]
    for seed in range(num_seeds):
        running = [number for number, contender in enumerate(contenders) if contender.is_random or seed == 0]
        parts = protocol.split(data, seed) if running else None
        for number in running:
            runs[number].append(_timed(protocol, contenders[number], parts, part, seed))
    results = [_result(protocol, contender, of_one) for contender, of_one in zip(contenders, runs, strict=True)]
    samples = {one.name: _over_seeds(protocol, of_one) for one, of_one in zip(contenders, runs, strict=True)}
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
        **_differences(protocol, samples),
    }


def _timed(protocol: Protocol, contender: Contender, parts: Any, part: Part, seed: int) -> _Run:
    started = time.process_time()
    found = protocol.measure(contender, parts, part, seed)
    values = {**found, "processor_seconds": time.process_time() - started}
    return _Run(values, found.per_user if isinstance(found, Measures) else {})


def _result(protocol: Protocol, contender: Contender, runs: list[_Run]) -> Json:
    values = {name: [run.values[name] for run in runs] for name in runs[0].values}
    means = {name: float(np.mean(of_runs)) for name, of_runs in values.items()}
    return {
        **asdict(contender),
        "num_seeds": len(runs),
        "mean": means,
        "deviation": {name: float(np.std(of_runs)) for name, of_runs in values.items()},
        "intervals": {
            metric: bootstrap_interval(sample, seed=SEED) for metric, sample in _over_seeds(protocol, runs).items()
        },
        "each": [run.values for run in runs],
        "met": protocol.met(means) if protocol.goal else None,
    }


def _over_seeds(protocol: Protocol, runs: list[_Run]) -> dict[str, PerUser]:
    """Return each reported metric with every user's mean over seeds; none where users cannot be told apart."""
    return {
        metric: PerUser.mean([run.per_user[metric] for run in runs])
        for metric in protocol.metrics
        if all(metric in run.per_user for run in runs)
    }


def _differences(protocol: Protocol, samples: Mapping[str, Mapping[str, PerUser]]) -> Json:
    """Return the best contender on the deciding metric, and metric -> other -> how far the best is above it."""
    decides = protocol.metrics[0]
    values = {name: of_one[decides].value for name, of_one in samples.items() if decides in of_one}
    if not values:
        return {"best": None, "differences": {}}
    best = (min if decides in LOWER_IS_BETTER else max)(values, key=values.__getitem__)
    differences = {
        metric: compare_with(
            best, {name: of_one[metric] for name, of_one in samples.items() if metric in of_one}, seed=SEED
        )
        for metric in samples[best]
    }
    return {"best": best, "differences": differences}


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
