import pytest

from tests.contracts.ranker import RankerContract


class TestCross(RankerContract):
    model = "cross"
    loss = "list_mle"
    settings = {"projection_dim": 4}


def widths(**settings: object) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of each layer's weights, by the layer's class."""
    import keras

    from pipelines.models.rankers.base import DenseLayers
    from pipelines.models.rankers.cross import Cross

    features = keras.Input((10,))
    layers = keras.Model(features, Cross(Cross.Settings(**settings)).layers(features, DenseLayers((3,), 0.0, 1)))
    found: dict[str, list[tuple[int, ...]]] = {}
    for layer in layers.layers:
        found.setdefault(type(layer).__name__, []).extend(tuple(w.shape) for w in layer.weights)
    return found


@pytest.mark.parametrize(("projection_dim", "kernels"), [(None, [(10, 10), (10,)]), (2, [(10, 2), (2, 10), (10,)])])
def test_cross_layers_are_of_full_or_low_rank(projection_dim, kernels):
    found = widths(num_cross_layers=2, projection_dim=projection_dim)["FeatureCross"]
    assert sorted(found) == sorted(kernels * 2)


def test_parallel_layers_stand_beside_each_other():
    assert "Concatenate" not in widths(structure="stacked")
    assert "Concatenate" in widths(structure="parallel")
