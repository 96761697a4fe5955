"""The retrieval model: a query tower and an item tower into one vector space."""

from typing import Any

import keras
from keras import ops

from pipelines.inputs.query_encoder import TIME_WIDTH
from pipelines.models.batches import SAMPLED
from pipelines.models.devices import share_of_batch, whole_batch
from pipelines.models.in_batch_softmax import NEVER, in_batch_softmax
from pipelines.models.layers.bag_pooling import BagPooling
from pipelines.models.layers.history_pooling import HistoryPooling
from pipelines.models.layers.id_dropout import IdDropout
from pipelines.models.layers.in_batch_scores import InBatchScores
from pipelines.models.losses import DiagonalSoftmax

Shapes = dict[str, Any]  # input name -> (shape of one row, dtype), as the encoders say it
ITEM_IDS = "item"
LOG_Q, OWN, USED = "log_q", "own", "used"
NEGATIVE_COLUMNS, NEGATIVE_COUNTS = "negative_columns", "negative_counts"


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
        num_sampled_negatives: items a batch has beside those of its queries, to be told from them.
        scene_units: units of the dense layers of a third tower, which reads what is of the request alone: device, hour
            and weekday. Its output scales and shifts the query's vector (FiLM, Perez and others 2018) before that is
            brought to length 1, so that what is asked of the index stays one vector. Empty for none: then the query
            tower reads them beside the rest.
        vectors: rows and columns of the table of supplied item vectors, which is not trained; None for none.
        seed: seed of the id dropout.
        precision: of the hidden layers; embeddings, the layers that make the vectors, and the loss are float32.

    Call: query inputs and item inputs in one dict -> `queries` and `items`, unit vectors `[batch, embedding_dim]`, and
    `sampled`, those of the item inputs that are named `sampled_...`, `[num_sampled, embedding_dim]`. The columns of a
    batch are the items of its rows, then the sampled ones. The loss reads of the same dict `item`, `log_q` and `own`
    `[batch]`, `sampled_item` and `sampled_log_q` `[num_sampled]`, `negative_columns` and `negative_counts`
    `[num_negatives]`: see `DistinctItems`; and with hard negatives `used`, bool `[batch, num_columns]`: items that the
    query's user used, which are no negatives. With several devices it compares each query with the items of all.
    """

    @property
    def shared_inputs(self) -> tuple[str, ...]:
        """Inputs that belong to the whole batch: a device has all of them."""
        sampled = (f"{SAMPLED}{name}" for name in (*self._settings["item_shapes"], LOG_Q, "rows"))
        return (NEGATIVE_COLUMNS, NEGATIVE_COUNTS, USED, *sampled)

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
        num_sampled_negatives: int = 0,
        scene_units: tuple[int, ...] = (),
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
            "num_sampled_negatives": num_sampled_negatives, "scene_units": tuple(scene_units),
            "vectors": None if vectors is None else tuple(vectors), "seed": seed, "precision": precision,
        }  # fmt: skip
        self._num_seeds = 0
        dims = {name: embedding_dim if name == "item" else feature_dim for name in sizes}
        self.tables = {name: embedding_table(name, size, dims[name]) for name, size in sizes.items()}
        self.vectors: Any = None
        if vectors is not None:
            rows, columns = vectors
            self.vectors = keras.layers.Embedding(rows, columns, "zeros", trainable=False, name="vectors")
        self.scene_tower = self._build_scene_tower() if scene_units else None
        self.query_tower = self._build_query_tower()
        self.item_tower = self._build_item_tower()
        self.scores = InBatchScores(temperature, name="scores")

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Return the vectors of both sides."""
        settings = self._settings
        queries = self.query_tower({k: inputs[k] for k in settings["query_shapes"]}, training=training)
        items = {k: inputs[k] for k in settings["item_shapes"]}
        if not settings["num_sampled_negatives"] or f"{SAMPLED}{ITEM_IDS}" not in inputs:
            return {"queries": queries, "items": self.item_tower(items, training=training)}
        # One pass of the tower over both.
        both = {k: ops.concatenate([values, inputs[f"{SAMPLED}{k}"]]) for k, values in items.items()}
        vectors, size = self.item_tower(both, training=training), ops.shape(items[ITEM_IDS])[0]
        return {"queries": queries, "items": vectors[:size], "sampled": vectors[size:]}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the mean in-batch softmax loss; with several devices, this one's share of it."""
        settings, queries, items = self._settings, y_pred["queries"], y_pred["items"]
        every_item, every_log_q = self._columns(items, y_pred.get("sampled"), x, LOG_Q)
        if not settings["num_hard_negatives"]:
            columns, counts = x[NEGATIVE_COLUMNS], ops.cast(x[NEGATIVE_COUNTS], "float32")
            log_weights = ops.log(ops.maximum(counts, 1.0)) - ops.take(every_log_q, columns, axis=0)
            loss = in_batch_softmax(
                queries, items, x[LOG_Q], ops.take(every_item, columns, axis=0),
                ops.where(counts > 0, log_weights, NEVER), x[OWN], temperature=settings["temperature"],
            )  # fmt: skip
        else:
            _, every_id = self._columns(items, y_pred.get("sampled"), x, ITEM_IDS)
            used = [x[USED]] if USED in x else []
            logits = self.scores([whole_batch(queries), every_item, every_id, every_log_q, *used])
            loss = ops.mean(DiagonalSoftmax(settings["num_hard_negatives"]).call(None, logits))
        return loss * share_of_batch()

    def _columns(self, items: Any, sampled: Any, x: dict[str, Any], name: str) -> tuple[Any, Any]:
        """Return vectors and one input of all of a batch's items, on all devices."""
        vectors, values = whole_batch(items), whole_batch(x[name])
        if sampled is None:
            return vectors, values
        return ops.concatenate([vectors, sampled]), ops.concatenate([values, x[f"{SAMPLED}{name}"]])

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
        numbers = inputs.get("query_numbers")
        if self.scene_tower is None:
            parts += self._scene(inputs)
        elif numbers is not None:
            numbers = numbers[:, :-TIME_WIDTH]
        if numbers is not None:
            parts.append(numbers)
        vectors = self._head(parts, skip=skip)
        if self.scene_tower is not None:
            scale, shift = self.scene_tower({name: inputs[name] for name in self.scene_tower.input})
            vectors = keras.layers.Add()([keras.layers.Multiply()([vectors, scale]), shift])
        return keras.Model(inputs, unit(vectors), name="query_tower")

    def _build_scene_tower(self) -> keras.Model:
        """Return the tower from what is of the request alone to a scale and a shift; at first 1 and 0."""
        settings = self._settings
        inputs = input_tensors({k: v for k, v in settings["query_shapes"].items() if k in ("device", "query_numbers")})
        if not inputs:
            raise ValueError(f"query inputs {', '.join(settings['query_shapes'])}; expected device or query_numbers")
        parts = self._scene(inputs)
        if "query_numbers" in inputs:
            parts.append(inputs["query_numbers"][:, -TIME_WIDTH:])
        hidden = self._dense(parts, settings["scene_units"])
        dim = settings["embedding_dim"]
        scale = keras.layers.Dense(dim, bias_initializer="ones", name="scale")(hidden)
        shift = keras.layers.Dense(dim, name="shift")(hidden)
        return keras.Model(inputs, [scale, shift], name="scene_tower")

    def _scene(self, inputs: dict[str, Any]) -> list[Any]:
        """Return what a request says of itself apart from the time; it need not say it."""
        if "device" not in inputs:
            return []
        dropout = IdDropout(self._settings["user_dropout"], self._settings["num_oov_buckets"], self._next_seed())
        return [self.tables["device"](dropout(inputs["device"]))]

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
        return keras.Model(inputs, unit(self._head(parts, skip=item)), name="item_tower")

    def _next_seed(self) -> int:
        """Return a seed no other layer has: with equal masks, towers would recognize each other's rows by them."""
        self._num_seeds += 1
        seed: int = self._settings["seed"] * 1_000 + self._num_seeds
        return seed

    def _head(self, parts: list[Any], *, skip: Any) -> Any:
        """Return dense layers over `parts`, added to a projection of `skip`."""
        settings = self._settings
        hidden = self._dense(parts, settings["hidden_units"])
        output = keras.layers.Dense(settings["embedding_dim"])(hidden)
        return keras.layers.Add()([output, keras.layers.Dense(settings["embedding_dim"], use_bias=False)(skip)])

    def _dense(self, parts: list[Any], num_units: tuple[int, ...]) -> Any:
        """Return hidden layers over `parts` side by side."""
        settings, precision = self._settings, self._settings["precision"]
        hidden = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
        for units in num_units:
            hidden = keras.layers.Dense(units, activation="silu", dtype=precision)(hidden)
            hidden = keras.layers.Dropout(settings["dropout"], seed=self._next_seed(), dtype=precision)(hidden)
        return hidden


def unit(vectors: Any) -> Any:
    """Return vectors of length 1, the output of a tower."""
    return keras.layers.UnitNormalization(name="embedding")(vectors)


def input_tensors(shapes: Shapes) -> dict[str, Any]:
    """Return a Keras input of each name."""
    return {name: keras.Input(tuple(shape), dtype=dtype, name=name) for name, (shape, dtype) in shapes.items()}


def embedding_table(name: str, size: int, dim: int) -> keras.layers.Embedding:
    """Return an embedding of `size` ids; small initial values let the content speak before the ids have learned."""
    initializer = keras.initializers.RandomNormal(stddev=0.05)
    return keras.layers.Embedding(size, dim, embeddings_initializer=initializer, name=f"{name}_embedding")
