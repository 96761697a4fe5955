import pyarrow as pa

from pipelines.inputs.text import tokenize


def test_words_and_years_are_tokens_and_function_words_are_not():
    tokens = tokenize(pa.array(["The Lord of the Rings (1978)", "Amélie & Co.", None, "", "the"]))
    assert tokens.to_pylist() == [["lord", "rings", "1978"], ["amélie", "co"], [], [], []]
