from pipelines.models import evaluation_page
from pipelines.models.paired_table import paired_table

BETTER = {"difference": 0.1, "low": 0.05, "high": 0.15, "p_value": 0.001, "p_holm": 0.002, "num_users": 166}
WORSE = {**BETTER, "difference": -0.1, "low": -0.15, "high": -0.05}
LEVEL = {**BETTER, "difference": 0.01, "low": -0.02, "high": 0.04, "p_holm": 0.6}


def test_a_model_that_loses_is_told_so():
    values = {"retrieval": 0.2, "ease": 0.3, "popularity": 0.1}
    note = evaluation_page._retrieval_note("sasrec", values, {"popularity": BETTER, "ease": WORSE}, 166)
    assert note == (
        "Retrieval by sasrec reaches 0.2000 and loses to ease (0.3000): tune it, or train the simpler model."
    )
    alone = evaluation_page._retrieval_note("sasrec", values, {"popularity": BETTER}, 166)
    assert alone.endswith("above popularity, the one baseline measured.")
    two = evaluation_page._retrieval_note("sasrec", values, {"popularity": BETTER, "random": BETTER}, 166)
    assert two.endswith("above all 2 baselines measured.")


def test_a_model_as_good_as_a_simpler_one_is_told_so():
    values = {"retrieval": 0.2, "ease": 0.19, "transitions": 0.21, "random": 0.3}
    note = evaluation_page._retrieval_note("gru", values, {"ease": LEVEL, "transitions": LEVEL}, 166)
    assert note == (
        "Retrieval by gru reaches 0.2000, with no difference from transitions (0.2100), ease (0.1900) that 166 users "
        "can show."
    )
    both = evaluation_page._retrieval_note("gru", values, {"ease": LEVEL, "random": WORSE}, 166)
    assert "loses to random (0.3000)" in both
    assert "no difference from ease (0.1900) that 166 users can show" in both


def test_the_verdict_gives_the_difference_and_its_interval_or_says_that_none_is_shown():
    values = {"recommender": 0.2, "ease": 0.1}
    won = evaluation_page._verdict("ease", "ndcg_at_10", values, BETTER, 166)
    assert won == (
        "The recommender beats ease on ndcg_at_10: 0.2000 against 0.1000 (difference 0.1000, 95 % 0.0500 to 0.1500)."
    )
    assert "loses to ease" in evaluation_page._verdict("ease", "ndcg_at_10", values, WORSE, 166)
    level = evaluation_page._verdict("ease", "ndcg_at_10", values, LEVEL, 166)
    assert level.endswith("no difference that 166 users can show.")
    assert "beats" not in level


def test_the_table_has_a_verdict_for_each_system_but_the_reference():
    intervals = {"ours": (0.1, 0.3), "ease": (0.05, 0.15), "gru": (0.1, 0.3)}
    values = {"ours": 0.2, "ease": 0.1, "gru": 0.19}
    head, ours, ease, gru = paired_table("ours", values, intervals, {"ease": BETTER, "gru": LEVEL})
    assert head[2] == "ours above it by (95 %)"
    assert ours == ["ours", "0.2000 (0.1000 to 0.3000)", "", "", ""]
    assert ease[2:] == ["+0.1000 (0.0500 to 0.1500)", "0.002", "better"]
    assert gru[3:] == ["0.600", "not told apart"]
