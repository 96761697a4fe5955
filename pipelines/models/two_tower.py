"""The retrieval model: a query tower and an item tower into one vector space."""

from typing import Any

import keras
from keras import ops

from pipelines.models.devices import share_of_batch, whole_batch
from pipelines.models.in_batch_softmax import NEVER, in_batch_softmax
from pipelines.models.layers.bag_pooling import BagPooling
from pipelines.models.layers.history_pooling import HistoryPooling
from pipelines.models.layers.id_dropout import IdDropout
from pipelines.models.layers.in_batch_scores import InBatchScores
from pipelines.models.losses import DiagonalSoftmax

Shapes = dict[str, Any]  # input name -> (shape of one row, dtype), as the encoders say it
ITEM_IDS = "item"
LOG_Q = "log_q"
OWN, NEGATIVE_ROWS, NEGATIVE_COUNTS = "own", "negative_rows", "negative_counts"


@keras.saving.register_keras_serializable("tandem")
class TwoTower(keras.Model):
    """Learns to tell each query's item from the others of a batch; its towers are Functional models of their own.

    Both towers end in unit vectors `[batch, embedding_dim]`, so a dot product is a cosine. History and item ids share
    one embedding, taste and item categories another: what a user did lands where those items are. Of the inputs only
    `user` and `item` must be there: with them alone it is the plain two-tower model of ids.

    Args:
        query_shapes: query input name -> (shape of one row, dtype).
        item_shapes: item input name -> (shape of one row, dtype).
        sizes: vocabulary name -> number of ids (user, item, attribute, category, device, token).
        embedding_dim: length of the towers' outputs and of item id embeddings.
        hidden_units: units of the dense layers before the output.
        feature_dim: length of user, attribute, category, device and token embeddings.
        temperature: divides the dot products before the softmax.
        dropout: share of hidden units dropped while training.
        user_dropout: share of user ids replaced by an unseen one while training.
        item_dropout: share of item ids replaced by an unseen one while training.
        num_oov_buckets: ids kept for unseen values.
        num_hard_negatives: learn from only this many of each row's highest negatives; 0 is all.
        vectors: rows and columns of the table of supplied item vectors, which is not trained; None for none.
        seed: seed of the id dropout.
        precision: of the hidden layers; embeddings, the layers that make the vectors, and the loss are float32.

    Call: query inputs and item inputs in one dict -> `queries` and `items`, unit vectors `[batch, embedding_dim]`. The
    loss reads of the same dict `item`, `log_q` and `own` `[batch]`, and `negative_rows` and `negative_counts`
    `[num_negatives]`: see `Negatives`. With several devices it compares each query with the items of all of them.
    """

    shared_inputs = (NEGATIVE_ROWS, NEGATIVE_COUNTS)

    def __init__(
        self,
        query_shapes: Shapes,
        item_shapes: Shapes,
        sizes: dict[str, int],
        *,
        embedding_dim: int = 64,
        hidden_units: tuple[int, ...] = (128,),
        feature_dim: int = 16,
        temperature: float = 0.07,
        dropout: float = 0.1,
        user_dropout: float = 0.3,
        item_dropout: float = 0.05,
        num_oov_buckets: int = 8,
        num_hard_negatives: int = 0,
        vectors: tuple[int, int] | None = None,
        seed: int = 0,
        precision: str = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings: dict[str, Any] = {
            "query_shapes": query_shapes, "item_shapes": item_shapes, "sizes": sizes, "embedding_dim": embedding_dim,
            "hidden_units": tuple(hidden_units), "feature_dim": feature_dim, "temperature": temperature,
            "dropout": dropout, "user_dropout": user_dropout, "item_dropout": item_dropout,
            "num_oov_buckets": num_oov_buckets, "num_hard_negatives": num_hard_negatives,
            "vectors": None if vectors is None else tuple(vectors), "seed": seed, "precision": precision,
        }  # fmt: skip
        self._num_seeds = 0
        dims = {name: embedding_dim if name == "item" else feature_dim for name in sizes}
        self.tables = {name: embedding_table(name, size, dims[name]) for name, size in sizes.items()}
        self.vectors: Any = None
        if vectors is not None:
            rows, columns = vectors
            self.vectors = keras.layers.Embedding(rows, columns, "zeros", trainable=False, name="vectors")
        self.query_tower = self._build_query_tower()
        self.item_tower = self._build_item_tower()
        self.scores = InBatchScores(temperature, name="scores")

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Return the vectors of both sides."""
        settings = self._settings
        queries = self.query_tower({k: inputs[k] for k in settings["query_shapes"]}, training=training)
        items = self.item_tower({k: inputs[k] for k in settings["item_shapes"]}, training=training)
        return {"queries": queries, "items": items}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the mean in-batch softmax loss; with several devices, this one's share of it."""
        settings, queries, items = self._settings, y_pred["queries"], y_pred["items"]
        every_item, every_log_q = whole_batch(items), whole_batch(x[LOG_Q])
        if not settings["num_hard_negatives"]:
            rows, counts = x[NEGATIVE_ROWS], ops.cast(x[NEGATIVE_COUNTS], "float32")
            weights = ops.where(
                counts > 0, ops.log(ops.maximum(counts, 1.0)) - ops.take(every_log_q, rows, axis=0), NEVER
            )
            loss = in_batch_softmax(
                queries, items, x[LOG_Q], ops.take(every_item, rows, axis=0), weights, x[OWN],
                temperature=settings["temperature"],
            )  # fmt: skip
        else:
            logits = self.scores([whole_batch(queries), every_item, whole_batch(x[ITEM_IDS]), every_log_q])
            loss = ops.mean(DiagonalSoftmax(settings["num_hard_negatives"]).call(None, logits))
        return loss * share_of_batch()

    def build(self, input_shape: Any) -> None:
        """Nothing to create: the towers were built with the model."""
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), **self._settings}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TwoTower":
        """Rebuild from `get_config`."""
        return cls(**config)

    def _build_query_tower(self) -> keras.Model:
        settings, tables = self._settings, self.tables
        inputs = input_tensors(settings["query_shapes"])
        user = IdDropout(settings["user_dropout"], 1, self._next_seed())(inputs["user"])  # unseen users share an id
        parts = [tables["user"](user)]
        skip = parts[0]
        if "history" in inputs:
            skip = HistoryPooling(name="history_pooling")([tables["item"](inputs["history"]), inputs["history"]])
            parts.append(skip)
        if "taste" in inputs:
            parts.append(BagPooling()([tables["category"](inputs["taste"]), inputs["taste"], inputs["taste_weights"]]))
        if "attributes" in inputs:
            parts.append(BagPooling()([tables["attribute"](inputs["attributes"]), inputs["attributes"]]))
        if "device" in inputs:  # a request need not say it
            dropout = IdDropout(settings["user_dropout"], settings["num_oov_buckets"], self._next_seed())
            parts.append(tables["device"](dropout(inputs["device"])))
        if "query_numbers" in inputs:
            parts.append(inputs["query_numbers"])
        return keras.Model(inputs, self._head(parts, skip=skip), name="query_tower")

    def _build_item_tower(self) -> keras.Model:
        settings, tables = self._settings, self.tables
        inputs = input_tensors(settings["item_shapes"])
        ids = IdDropout(settings["item_dropout"], settings["num_oov_buckets"], self._next_seed())(inputs["item"])
        item = tables["item"](ids)
        parts = [item]
        for name, table in (("categories", "category"), ("tokens", "token")):
            if name in inputs:
                parts.append(BagPooling()([tables[table](inputs[name]), inputs[name]]))
        if "item_numbers" in inputs:
            parts.append(inputs["item_numbers"])
        if self.vectors is not None:
            projection = keras.layers.Dense(settings["embedding_dim"], activation="silu", name="vector_projection")
            parts.append(projection(self.vectors(inputs["vector"])))
        return keras.Model(inputs, self._head(parts, skip=item), name="item_tower")

    def _next_seed(self) -> int:
        """Return a seed no other layer has: with equal masks, towers would recognize each other's rows by them."""
        self._num_seeds += 1
        seed: int = self._settings["seed"] * 1_000 + self._num_seeds
        return seed

    def _head(self, parts: list[Any], *, skip: Any) -> Any:
        """Return unit vectors: dense layers over `parts`, added to a projection of `skip`."""
        settings = self._settings
        hidden = keras.layers.Concatenate()(parts)
        for units in settings["hidden_units"]:
            hidden = keras.layers.Dense(units, activation="silu", dtype=settings["precision"])(hidden)
            hidden = keras.layers.Dropout(settings["dropout"], seed=self._next_seed(), dtype=settings["precision"])(
                hidden
            )
        output = keras.layers.Dense(settings["embedding_dim"])(hidden)
        output = keras.layers.Add()([output, keras.layers.Dense(settings["embedding_dim"], use_bias=False)(skip)])
        return keras.layers.UnitNormalization(name="embedding")(output)


def input_tensors(shapes: Shapes) -> dict[str, Any]:
    """Return a Keras input of each name."""
    return {name: keras.Input(tuple(shape), dtype=dtype, name=name) for name, (shape, dtype) in shapes.items()}


def embedding_table(name: str, size: int, dim: int) -> keras.layers.Embedding:
    """Return an embedding of `size` ids; small initial values let the content speak before the ids have learned."""
    initializer = keras.initializers.RandomNormal(stddev=0.05)
    return keras.layers.Embedding(size, dim, embeddings_initializer=initializer, name=f"{name}_embedding")
