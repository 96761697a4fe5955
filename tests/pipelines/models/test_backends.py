"""The tests of the next-item models pass on the JAX backend too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = [
    "layers/test_causal_attention.py", "layers/test_pointwise_attention.py", "layers/test_relative_bias.py",
    "layers/test_resetting_gru.py", "test_next_item_losses.py", "retrievers/test_sequential.py",
]  # fmt: skip
# Writing ONNX needs TensorFlow; youtube has no layer and no loss that the others have not.
LEFT_OUT = "what_serving_loads or YouTube"


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("KERAS_BACKEND") == "jax", reason="runs on it already")
def test_next_item_models_on_jax():
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ran = subprocess.run(
        [*command, "-k", f"not ({LEFT_OUT})", *(str(HERE / test) for test in TESTS)],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=HERE.parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout
