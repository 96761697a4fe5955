"""Reports of runs as pages of Airflow's own server: Data Docs, evaluations, leakage checks.

The log of the task that made a report has its address. Only people whom Airflow lets read DAGs see a page, because it
may show raw rows; and it is sandboxed, because raw rows may hold anything and must not act in the reader's name.

Airflow reads plugins in all its processes, tasks too, so everything heavy is imported by the first request.
"""

from pathlib import Path
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/tandem/reports"
SUFFIXES = {".html", ".css", ".js", ".png", ".svg", ".json", ".woff2"}
HEADERS = {
    "Content-Security-Policy": "sandbox allow-scripts allow-popups",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}


async def serve(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request for a file below the run folders (ASGI)."""
    from starlette.requests import Request

    response = await _answer(Request(scope, receive))
    await response(scope, receive, send)


async def _answer(request: Any) -> Any:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
    from fastapi import HTTPException
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse

    if request.method not in ("GET", "HEAD"):
        return PlainTextResponse("reports are read with GET", 405)
    try:
        user = await get_user(request, None, await bearer_scheme(request))
    except HTTPException:
        return RedirectResponse(f"/auth/login?next={request.url.path}", 307)
    if not await run_in_threadpool(get_auth_manager().is_authorized_dag, method="GET", user=user):
        return PlainTextResponse("your role may not read DAGs, so neither their reports; ask an administrator", 403)
    file = find(request.url.path.partition(PREFIX)[2])
    if file is None:
        return PlainTextResponse("there is no such report; the task's log has the address of those there are", 404)
    return FileResponse(file, headers=HEADERS)


def find(path: str) -> Path | None:
    """Return the file at `path` below the run folders; None where there is none, or it is not part of a report."""
    from pipelines import entrypoints

    root = Path(entrypoints.runs_folder()).resolve()
    file = (root / path.lstrip("/")).resolve()
    return file if file.is_relative_to(root) and file.suffix in SUFFIXES and file.is_file() else None


class Reports(AirflowPlugin):
    """Mounts the pages below `/tandem/reports`."""

    name = "tandem_reports"
    fastapi_apps = [{"name": "Tandem reports", "app": serve, "url_prefix": PREFIX}]
