import json
import os
import subprocess
import sys

import pytest

from pipelines.config import REPOSITORY, RankingConfig, TrainingConfig
from pipelines.errors import ConfigError
from pipelines.models.devices import on_devices, require_even
from tests.support.pairs import made_pairs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "models"), [("tensorflow", ["two_tower", "next_item", "ranker"]), ("jax", ["two_tower", "next_item"])]
)
def test_two_devices_train_the_same_model_as_one_and_go_on_from_its_checkpoint(backend: str, models: list[str]):
    pytest.importorskip(backend)
    environment = os.environ | {
        "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.train_on_devices", *models]
    ran = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert list(found) == models
    # An epoch changes weights by 0.08 and 0.007, and what a ranker gives by more than a hundredth.
    assert max(max(differences.values()) for differences in found.values()) < 1e-5, found


def test_more_devices_than_there_are_are_refused():
    with (
        pytest.raises(ConfigError, match=r"64 device\(s\) of kind 'cpu' were asked for.*sees cpu:0"),
        on_devices("cpu", 64),
    ):
        pass


def test_lists_that_do_not_divide_among_devices_are_refused():
    with pytest.raises(ConfigError, match=r"a batch has 7 lists of 10, which do not divide among 2 devices"):
        made_pairs(640, 100).ranker(RankingConfig(loss="softmax", batch_size=70), run=TrainingConfig(num_devices=2))


def test_a_batch_that_does_not_divide_is_refused():
    require_even(64, 2)
    with pytest.raises(ConfigError, match="batch_size=65 does not divide among 2 devices; expected a multiple of 2"):
        require_even(65, 2)
