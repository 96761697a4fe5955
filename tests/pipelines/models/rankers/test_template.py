"""The ranking model of the tutorial, taken from docs/models.md as it stands there, can be chosen and built."""

import re
import sys
from types import ModuleType

import pytest

from pipelines.config import REPOSITORY, RankingConfig
from pipelines.models.rankers.base import DenseLayers
from pipelines.models.rankers.catalogue import RANKERS, chosen_ranker

MODULE = "pipelines.models.rankers.wide"


def test_it_is_chosen_by_name_and_builds_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    page = (REPOSITORY / "docs" / "models.md").read_text().split("### Add a ranking model")[1]
    template = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert template
    module = ModuleType(MODULE)
    exec(compile(template[1], "docs/models.md", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, MODULE, module)
    monkeypatch.setitem(RANKERS, "wide", "wide:Wide")
    ranker, _ = chosen_ranker(RankingConfig(model="wide"))
    assert ranker.card.name == "wide"
    interaction, value = ranker.layers(keras.Input((5,)), DenseLayers((3,), 0.0, 1))
    assert (interaction.shape, value.shape) == ((None, 5), (None, 3))
