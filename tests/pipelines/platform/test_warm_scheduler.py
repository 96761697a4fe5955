"""Tasks find other people's libraries imported, none of ours, and nothing of theirs at work."""

import json
import os
import subprocess
import sys

from pipelines.config import REPOSITORY
from pipelines.platform.warm_scheduler import LIBRARIES

PROBE = """
import json, os, sys, types
from pipelines.platform import warm_scheduler as module
ran = {}
module.runpy.run_module = lambda name, **_: ran.update(name=name, argv=sys.argv, modules=sorted(sys.modules))
sys.argv = ["warm_scheduler", "--skip-serve-logs"]
module.main()
child = os.fork()
if child == 0:
    import keras, numpy
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
    os._exit(0 if float(model.predict_on_batch(numpy.ones((1, 2)))[0, 0]) == 2.0 else 1)
print(json.dumps(ran | {"trained": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}))
"""


def test_libraries_are_imported_before_airflow_starts_and_work_in_a_fork() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    ran = json.loads(done.stdout.splitlines()[-1])
    assert (ran["name"], ran["argv"]) == ("airflow", ["airflow", "scheduler", "--skip-serve-logs"])
    assert set(LIBRARIES) <= set(ran["modules"])
    ours = {name for name in ran["modules"] if name.split(".")[0] in ("dags", "feature_repo", "pipelines", "serving")}
    assert ours == {"pipelines", "pipelines.platform", "pipelines.platform.warm_scheduler", "pipelines.stores"}
    assert ran["trained"] == 0
