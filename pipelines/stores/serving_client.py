"""The serving component over HTTP, as operators and the promotion step see it."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from pipelines.errors import PlatformError, RequestError

Json = dict[str, Any]


class ServingClient:
    """Asks one serving component. Proxies of the environment are not used: it is a neighbour."""

    def __init__(self, url: str, *, timeout_seconds: float = 10.0) -> None:
        """Talk to `url`, such as `http://127.0.0.1:8000`."""
        self.url = url.rstrip("/")
        self._timeout = timeout_seconds
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def release(self) -> Json:
        """Return the release that answers; `version` is None when there is none."""
        return self._ask("/v1/release")

    def freshness(self) -> Json:
        """Return view -> when it was brought up to date, and whether that is too long ago."""
        return dict(self._ask("/v1/freshness")["views"])

    def recommend(self, user_id: str, *, count: int = 10, exclude: tuple[str, ...] = ()) -> Json:
        """Return recommendations for a user."""
        return self._ask("/v1/recommendations", {"user_id": user_id, "count": count, "exclude": list(exclude)})

    def similar(self, item_id: str, *, count: int = 10) -> Json:
        """Return items like an item."""
        return self._ask(f"/v1/items/{urllib.parse.quote(item_id, safe='')}/similar?count={count}")

    def explain(self, user_id: str, item_id: str, *, count: int = 10) -> Json:
        """Return why an item is, or is not, recommended to a user."""
        query = urllib.parse.urlencode({"user_id": user_id, "item_id": item_id, "count": count})
        return self._ask(f"/v1/explanations?{query}")

    def _ask(self, path: str, body: Json | None = None) -> Json:
        """Send a request.

        Raises:
            RequestError: serving refused the request itself.
            PlatformError: serving cannot be reached, is not ready, or failed.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310 - the address is configured
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                answer: Json = json.load(response)
        except urllib.error.HTTPError as error:
            kind = RequestError if 400 <= error.code < 500 else PlatformError
            raise kind(f"serving at {self.url} answered {error.code} to {path}: {_message(error)}") from error
        except (OSError, ValueError) as error:
            raise PlatformError(
                f"serving at {self.url} cannot be asked ({error}); start it with `tandem up`, or see `tandem status`"
            ) from error
        return answer


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(error.reason)
