"""Start the serving component: `python -m serving`. Settings come from the environment, see `serving.settings`."""

import gc
import logging
import os
import sys
import threading

# Requests run beside each other; threads below one request would fight over the same cores. These are read when
# numpy and Arrow are first imported, so they are set before anything else.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# A registry that is down is noticed within seconds, not minutes; the watcher asks again anyway.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("FEAST_USAGE", "False")


def main() -> int:
    """Serve until stopped; returns the exit code."""
    from pipelines.errors import TandemError
    from serving.settings import load_settings

    try:
        settings = load_settings()
    except TandemError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code

    import uvicorn

    from serving.app import create_app

    # Only now: Feast, imported before prometheus-client, switches that to its multi-process mode.
    threading.Thread(target=preload, name="preload", daemon=True).start()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=10,
    )
    return 0


def preload() -> None:
    """Import what the first release will need, seconds of it, while there may be no release yet.

    These libraries are some 200,000 objects that stay for good; a garbage collection that looks through them stops
    every request for more than a tenth of a second, so it is told to pass over them.
    """
    import feast  # noqa: F401 - to have it
    import mlflow  # noqa: F401 - to have it
    import onnxruntime  # noqa: F401 - to have it

    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
