import pytest

from pipelines.errors import PlatformError, RequestError
from pipelines.stores.serving_client import ServingClient
from serving.app import create_app
from serving.settings import Settings
from tests.support.serving import FakeSource, FakeStore, served, wait_until
from tests.support.tiny_release import write_tiny_release


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp("client"), FakeSource()
    source.point(source.put("1", write_tiny_release(folder / "release")))
    settings = Settings(home=folder / "home", poll_seconds=0.05)
    with served(create_app(settings, source=source, open_store=lambda *_: FakeStore())) as http:
        wait_until(lambda: http.get("/readyz").status_code == 200)
        yield ServingClient(str(http.base_url))


def test_it_asks_what_operators_ask(client):
    assert client.release()["version"] == "1"
    answer = client.recommend("u1", count=3, exclude=("000",))
    assert len(answer["items"]) == 3
    item = answer["items"][0]["item_id"]
    assert client.similar(item, count=2)["item_known"]
    assert not client.similar("a/b c?", count=2)["item_known"]
    assert client.explain("u 1", item)["item_id"] == item


def test_a_refused_request_is_the_callers_fault(client):
    with pytest.raises(RequestError, match=r"answered 422 to /v1/recommendations: .*count"):
        client.recommend("u1", count=0)


def test_a_server_that_is_not_there_says_what_to_run():
    with pytest.raises(PlatformError, match="tandem up"):
        ServingClient("http://127.0.0.1:9").release()


def test_a_server_without_a_release_says_why(tmp_path):
    settings = Settings(home=tmp_path, poll_seconds=0.05)
    with served(create_app(settings, source=FakeSource(), open_store=lambda *_: FakeStore())) as http:
        client = ServingClient(str(http.base_url))
        assert client.release()["version"] is None
        with pytest.raises(PlatformError, match="answered 503"):
            client.recommend("u1")
