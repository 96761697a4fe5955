"""Context where it is known to matter, and where it is known not to: does it win, and does it hurt?

`python benchmarks/context.py` needs no data. Ratings: a condition moves those of all, of each item or of each user, by
one or by nothing; errors on ratings not learned from. Choices: by taste and by part of the day, or by taste alone;
asked for are those after the 0.9 quantile of time, with weights of the blend chosen on the part before.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipelines.models.ratings.base import Ratings
from pipelines.models.ratings.catalogue import rating_model
from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.blend import Blend, BlendSettings
from pipelines.models.significance import compare_with
from pipelines.protocols.measuring import as_validation, measure_ranking
from pipelines.protocols.splits import global_time
from tests.support.planted_context import chosen, moved

SEED, QUANTILE, METRIC = 0, 0.9, "ndcg_at_10"
RATING_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "biased factors": ("biased_factors", {}),
    "CAMF-C": ("camf", {"deviations": "global"}),
    "CAMF-CI": ("camf", {"deviations": "item"}),
    "CAMF-CU": ("camf", {"deviations": "user"}),
    "item splitting": ("splitting", {}),
    "user splitting": ("splitting", {"split": "users"}),
    "splitting of both": ("splitting", {"split": "both"}),
}
BLIND = {"model": "ease", "settings": {"history_decay": 0.9}}
LIFT = {"model": "context_lift", "weight": 0.2}


def main() -> None:
    cases = [("global", 1.0), ("item", 1.0), ("user", 1.0), ("item", 0.0)]
    print("| RMSE | " + " | ".join(f"moves {by} by {effect:g}" for by, effect in cases) + " |")
    parts = [moved(by, effect=effect) for by, effect in cases]
    for name, (model, settings) in RATING_MODELS.items():
        errors = [rating_error(model, settings, *part) for part in parts]
        print(f"| {name} | " + " | ".join(f"{error:.3f}" for error in errors) + " |", flush=True)
    for strength in (1.0, 0.0):
        next_items(strength)


def rating_error(name: str, settings: dict[str, Any], train: Ratings, other: Ratings) -> float:
    kind = rating_model(name)
    model = kind(kind.Settings(**settings))
    model.fit(train, seed=SEED)
    found = model.predict(other.users, other.items, other.contexts)
    return float(np.sqrt(np.mean((found - other.values) ** 2)))


def next_items(effect: float) -> None:
    """Print how well the next item is found without context and with it, and by how much the latter is better."""
    rows = chosen(effect=effect)
    test = replace(global_time(rows, QUANTILE, successive=True), remove_seen=False)
    inner = replace(global_time(test.train, QUANTILE, successive=True), remove_seen=False)
    found = {}
    for name, parts in (("without", (BLIND,)), ("with", (BLIND, LIFT))):
        model = Blend(BlendSettings(parts=parts, choose_weights=True))
        model.fit(inner.train, options=RunOptions(seed=SEED), validation=as_validation(inner, limit=2_000, seed=SEED))
        for part in model.parts:
            part.fit(test.train, options=RunOptions(seed=SEED))
        found[name] = measure_ranking(model, test, (10,)).per_user[METRIC]
        print(f"effect {effect:g}, {name} context: {METRIC} {found[name].value:.4f}, weights {model.weights.round(2)}")
    one = compare_with("with", found, seed=SEED)["without"]
    print(f"better by {one['difference']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f}), p {one['p_value']:.4f}")


if __name__ == "__main__":
    main()
