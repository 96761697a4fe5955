import numpy as np
import pytest

from pipelines.models import plots


@pytest.mark.parametrize("heights", [[0.3, 0.3, 0.3, 0.3001], [0.1, 0.5, 0.11], [0.2]])
def test_names_beside_a_plot_never_overlap_and_keep_their_order(heights):
    moved = plots._spread(heights, (0.1, 0.5))
    order = np.argsort(heights, kind="stable")
    assert (np.diff(np.array(moved)[order]) > 0.9 * 0.4 / 14).all()


def test_systems_without_a_colour_of_their_own_get_different_ones():
    colors = plots._distinct(["recommender", "ease", "transitions"])
    assert colors["recommender"] == plots.COLORS["recommender"]
    assert colors["ease"] != colors["transitions"]


def test_the_trade_off_is_drawn_and_equal_figures_give_equal_bytes(tmp_path):
    points = {"recommender": [0.3, 0.5, 0.2], "popularity": [0.2, 1.0, 0.01], "ease": [0.2, 0.9, 0.05]}
    for name in ("a.png", "b.png"):
        plots.trade_off(tmp_path / name, points, ["head items", "coverage"], "ndcg @ 10")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
