import pytest

from pipelines.config import RankingConfig
from pipelines.errors import ConfigError
from pipelines.models.rankers.catalogue import LOSSES, RANKERS, chosen_ranker, listing


def test_models_and_losses_are_listed_by_their_own_names():
    names = [(entry["kind"], entry["name"]) for entry in listing()]
    assert names == [("ranking", name) for name in RANKERS] + [("ranking loss", name) for name in LOSSES]
    assert {entry["name"]: entry["settings"] for entry in listing()}["cross"]["num_cross_layers"] == 2


def test_the_chosen_model_has_the_settings_given():
    ranker, loss = chosen_ranker(RankingConfig(model="multi_task", loss="list_mle", settings={"num_experts": 3}))
    assert (ranker.card.name, ranker.settings.num_experts, loss.card.name) == ("multi_task", 3, "list_mle")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": "unheard"}, "ranking.model 'unheard' is unknown; expected one of cross, deep, multi_task"),
        ({"loss": "unheard"}, "ranking.loss 'unheard' is unknown; expected one of logistic"),
        ({"settings": {"num_expert": 3}}, "ranking.settings do not fit model 'cross': num_expert"),
        ({"model": "deep", "settings": {"num_cross_layers": 1}}, "do not fit model 'deep': num_cross_layers"),
    ],
)
def test_what_no_ranker_has_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        chosen_ranker(RankingConfig(**config))
