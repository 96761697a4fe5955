"""The web application: one function builds it, its lifespan loads and watches."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from serving.errors import install_error_handlers
from serving.middleware import Boundary
from serving.releases import RegistrySource, ReleaseSource
from serving.routes import router
from serving.settings import Settings
from serving.state import OpenStore, State, open_store


def create_app(
    settings: Settings, *, source: ReleaseSource | None = None, open_store: OpenStore = open_store
) -> FastAPI:
    """Build the application.

    Args:
        settings: see `serving.settings`.
        source: where releases come from; None is MLflow at `settings.mlflow_uri`.
        open_store: opens the online store of a data set, to read a feature service.
    """
    cache = settings.home / "serving" / "cache"
    state = State(settings, source or RegistrySource(settings.mlflow_uri, settings.alias, cache), open_store)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.start()
        yield
        state.stop()

    app = FastAPIOffline(  # the page of the API works where there is no internet
        redoc_url=None,
        static_url="/static",
        title="Tandem serving",
        summary="Recommendations from the champion release",
        description="Every answer names the one release it was made from, and which parts were down, if any.",
        version="1",
        lifespan=lifespan,
    )
    app.state.tandem = state
    app.include_router(router)
    install_error_handlers(app)
    app.add_middleware(Boundary, metrics=state.metrics, max_body_bytes=settings.max_body_bytes)
    return app
