"""Adapters of Feast, MLflow and files, each behind a small protocol."""

from typing import Any

import typeguard


def _unchecked(target: Any = None, **_: Any) -> Any:
    """Stand in for `typeguard.typechecked`, with and without arguments."""
    return target if target is not None else _unchecked


# Feast decorates its classes with it, and typeguard then parses and compiles their source anew whenever Feast is
# imported: two thirds of the import, in every task. mypy checks our declarations before they run.
typeguard.typechecked = _unchecked
