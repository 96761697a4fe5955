"""The model of the tutorial, taken from docs/models.md as it stands there, keeps the contract."""

import re
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from pipelines.config import REPOSITORY
from pipelines.models.retrievers.catalogue import MODELS
from tests.contracts.retriever import RetrieverContract

MODULE = "pipelines.models.retrievers.together"


@pytest.fixture(scope="module", autouse=True)
def _in_the_catalogue() -> Iterator[None]:
    page = (REPOSITORY / "docs" / "models.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (template,) = (block for block in blocks if "class Together" in block)
    module = ModuleType(MODULE)
    exec(compile(template, "docs/models.md", "exec"), vars(module))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, MODULE, module)
        patch.setitem(MODELS, "together", "together:Together")
        yield


class TestTogether(RetrieverContract):
    name = "together"
