"""Why an item is, or is not, recommended, over HTTP."""

import pytest

from tests.support.serving_app import ask


def test_an_explanation_shows_what_each_stage_saw(client):
    best = ask(client)["items"][0]
    why = client.get("/v1/explanations", params={"user_id": "u1", "item_id": best["item_id"]}).json()
    assert (why["recommended"], why["position"], why["reasons"]) == (True, 1, [])
    assert why["probability"] == pytest.approx(best["score"])
    assert why["retrieval_score"] == pytest.approx(best["retrieval_score"])
    assert 1 <= why["retrieval_rank"] <= 20
    assert why["features"]["user"]["recent_items"] == ["001", "002"]
    assert why["features"]["item"]["title"] == best["title"]
    assert "taste_match" in why["features"]["pair"]
    similarity = [near["similarity"] for near in why["history"]]
    assert {near["item_id"] for near in why["history"]} == {"001", "002"}
    assert similarity == sorted(similarity, reverse=True)


@pytest.mark.parametrize(
    ("item", "reason"),
    [("001", "seen it (online store)"), ("009", "blocked_items"), ("unknown", "not in the release")],
)
def test_an_explanation_says_what_excluded_an_item(client, item, reason):
    why = client.get("/v1/explanations", params={"user_id": "u1", "item_id": item}).json()
    assert not why["recommended"]
    assert reason in "; ".join(why["reasons"])


def test_an_explanation_of_a_low_rank_gives_the_figure(client):
    shown = {item["item_id"] for item in ask(client, count=10)["items"]}
    others = [f"{row:03}" for row in range(60) if f"{row:03}" not in {*shown, "001", "002", "009"}]
    reasons = [
        client.get("/v1/explanations", params={"user_id": "u1", "item_id": item}).json()["reasons"][0]
        for item in others
    ]
    assert any("only about 20 candidates" in reason for reason in reasons)
    assert any("have a higher probability" in reason for reason in reasons)
