"""Write docs/configuration.md from pipelines/config: `python docs/make_configuration.py`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from pipelines.config import Config, Section  # noqa: E402 - found by the line above

PAGE = REPOSITORY / "docs" / "configuration.md"
INTRODUCTION = """# Configuration

Precedence: defaults < `configs/default.yaml`, or the file of `--config` < environment `TANDEM_SECTION__FIELD` <
command-line flag or DAG parameter. A misspelt key is an error that names it. The resolved configuration is written once
a run, and logged with every model version. Secrets live only in the environment.

```bash
TANDEM_RETRIEVAL__EPOCHS=3 tandem run                # environment
tandem run --set retrieval.epochs=3 --dataset trial  # flag
tandem run --config my.yaml                          # file
```

## Everywhere
| key | default | meaning |
|---|---|---|
| `TANDEM_HOME` | `.tandem` in the clone | all state of the embedded profile |
| `TANDEM_DATASET`, `dataset` | named after the source | namespace of lake, features and runs |
| `TANDEM_ENGINE`, `features.engine` | duckdb | `duckdb` or `spark`: see [scaling](scaling.md) |
| `seed` | 7 | of the synthetic source and of training |
"""


def page() -> str:
    """Return the whole page: the introduction and one table a section."""
    sections = {
        name: field.default for name, field in Config.model_fields.items() if isinstance(field.default, Section)
    }
    return INTRODUCTION + "".join(_section(name, type(section)) for name, section in sections.items())


def _section(name: str, model: type[Section]) -> str:
    summary = (model.__doc__ or "").strip().splitlines()[0]
    return f"\n## {name}\n{summary}\n\n| key | default | meaning |\n|---|---|---|\n" + "".join(_rows(model, f"{name}."))


def _rows(model: type[Section], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.default, Section):
            yield from _rows(type(field.default), f"{prefix}{name}.")
        else:
            yield f"| `{prefix}{name}` | {_shown(field.default)} | {field.description or ''} |\n"


def _shown(value: Any) -> str:
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page())
