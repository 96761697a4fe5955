"""Feast's own pages of the feature registry: views, features, services and how they hang together.

Read-only. Declarations are code, in `feature_repo`, and a registry that was changed by hand would be changed back by
the next run without a word; so a request that writes is refused with that advice.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from pipelines.settings import load_config

READS = ("GET", "HEAD", "OPTIONS")
REFUSAL = "these pages only read: features are declared in feature_repo, and `tandem compute-features` applies them"

Application = Callable[[Any, Any, Any], Awaitable[None]]


def application() -> Application:
    """Return the ASGI application for the data sets of this home."""
    from starlette.responses import PlainTextResponse

    from pipelines.stores.feature_store import FeatureStore

    pages = FeatureStore.from_config(load_config()).pages()
    refusal = PlainTextResponse(REFUSAL, 405, {"Allow": ", ".join(READS)})

    async def only_reads(scope: Any, receive: Any, send: Any) -> None:
        writes = scope["type"] == "http" and scope["method"] not in READS
        await (refusal if writes else pages)(scope, receive, send)

    return only_reads


def main() -> None:
    """Serve the pages on this machine until the process is ended."""
    import uvicorn

    uvicorn.run(application(), host="127.0.0.1", port=load_config().ports.feast, log_level="warning")


if __name__ == "__main__":
    main()
