from pipelines.models import evaluation_page


def test_a_model_that_loses_is_told_so():
    values = {"retrieval": 0.2, "ease": 0.3, "popularity": 0.1}
    note = evaluation_page._retrieval_note("sasrec", values, ["popularity", "ease"])
    assert note == (
        "Retrieval by sasrec reaches 0.2000 and loses to ease (0.3000): tune it, or train the simpler model."
    )
    assert "above all 1 baselines" in evaluation_page._retrieval_note("sasrec", values, ["popularity"])
