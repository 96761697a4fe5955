"""The ranking model around its network: inputs and embeddings of one pair, two tasks, calibration.

Retrieval's score stays out of the network and joins it at the end. On the labels that the towers were trained on their
scores are far too good, and a network that had seen them there would trust them too much; how far to trust either is
fitted afterwards, on labels of the validation window that neither was trained on. So is how far to trust popularity as
of the request, which stands beside both: tastes learnt in one window hold less in the next than what is popular then.
"""

import keras
import keras_rs  # noqa: F401 - a network may use it; see train_ranker
import numpy as np
from numpy.typing import NDArray

from pipelines.inputs.item_encoder import POPULARITY
from pipelines.models.layers.bag_pooling import BagPooling
from pipelines.models.layers.history_similarity import HistorySimilarity
from pipelines.models.layers.id_dropout import IdDropout
from pipelines.models.layers.logistic_calibration import LogisticCalibration
from pipelines.models.rankers.base import DenseLayers, Ranker
from pipelines.models.two_tower import Shapes, embedding_table, input_tensors

LOGIT, PROBABILITY, EXPECTED_VALUE = "logit", "probability", "expected_value"


def build_ranker(
    shapes: Shapes,
    sizes: dict[str, int],
    item_vectors: NDArray[np.float32],
    *,
    body: Ranker,
    dense: DenseLayers,
    embedding_dim: int,
    item_dropout: float,
    num_oov_buckets: int,
    seed: int,
) -> tuple[keras.Model, keras.Model]:
    """Return the model that is trained and the model that is served; they share all weights.

    Args:
        shapes: input name -> (shape of one row, dtype), of the ranking encoder.
        sizes: vocabulary name -> number of ids.
        item_vectors: what retrieval knows of each item id, `[sizes["item"], vector_dim]`; not trained further. Zeros
            where it knows nothing.
        body: the network between features and outputs.
        dense: its dense layers.
        embedding_dim: length of every embedding.
        item_dropout: share of item ids replaced by an unseen one while training.
        num_oov_buckets: ids kept for unseen values.
        seed: of the dropout of ids.

    Returns:
        The trained model, outputs `logit` and `expected_value` `[batch, 1]`, and the served model, outputs
        `probability` (calibrated, of an interaction) and `expected_value` (the event's value, if there is one), both
        `[batch]`.
    """
    inputs = input_tensors({name: shape for name, shape in shapes.items() if name != "user"})
    tables = {n: embedding_table(n, size, embedding_dim) for n, size in sizes.items() if n != "user"}
    item = tables["item"](IdDropout(item_dropout, num_oov_buckets, seed * 1_000 + 101)(inputs["item"]))
    vectors = keras.layers.Embedding(*item_vectors.shape, trainable=False, name="item_vectors")
    similar = HistorySimilarity()([vectors(inputs["item"]), vectors(inputs["history"]), inputs["history"]])
    vectors.set_weights([item_vectors])
    history = BagPooling()([tables["item"](inputs["history"]), inputs["history"]])
    bags = [
        BagPooling()([tables[table](inputs[name]), inputs[name], *([inputs[weights]] if weights else [])])
        for name, table, weights in (
            ("categories", "category", None), ("tokens", "token", None), ("attributes", "attribute", None),
            ("taste", "category", "taste_weights"),
        )
    ]  # fmt: skip
    retrieval_score, match = inputs["pair_numbers"][:, :1], inputs["pair_numbers"][:, 1:]
    numbers = [inputs["query_numbers"], inputs["item_numbers"], match]
    # The query encoder is retrieval's: of its buckets only the first is sure to exist.
    device = tables["device"](IdDropout(item_dropout, 1, seed * 1_000 + 102)(inputs["device"]))
    features = keras.layers.Concatenate()([item, history, similar, *bags, device, *numbers])
    of_interaction, of_value = body.layers(features, dense)
    logit = keras.layers.Dense(1, name=LOGIT)(of_interaction)
    value = keras.layers.Dense(1, name="value")(of_value)
    popularity = inputs["item_numbers"][:, : len(POPULARITY)]
    evidence = keras.layers.Concatenate()([logit, retrieval_score, popularity])
    probability = LogisticCalibration(name="calibration")(evidence)
    served = {PROBABILITY: keras.layers.Reshape(())(probability), EXPECTED_VALUE: keras.layers.Reshape(())(value)}
    trained = keras.Model(inputs, {LOGIT: logit, EXPECTED_VALUE: value}, name="ranker_training")
    return trained, keras.Model(inputs, served, name="ranker")
