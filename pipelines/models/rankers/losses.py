"""What rankers learn by: cards, and how a batch is weighed. The Keras losses themselves are in `ranking_losses`."""

from dataclasses import dataclass
from typing import Any

from pipelines.models.retrievers.base import ModelCard


@dataclass(frozen=True)
class RankingLoss:
    """A loss by name.

    Attributes:
        card: what it needs and is good at; its family is `pointwise`, `pairwise` or `listwise`.
        keras_class: class of `ranking_losses` that compares the candidates of a query; empty where each pair is judged
            by itself, by logistic regression.
        by_value: whether a positive pair weighs as much as its value.
    """

    card: ModelCard
    keras_class: str = ""
    by_value: bool = False

    @property
    def of_lists(self) -> bool:
        """Whether candidates of a query are compared, so that batches hold whole lists."""
        return bool(self.keras_class)

    def build(self, list_length: int) -> Any:
        """Return the Keras loss; one that compares candidates takes lists of `list_length` rows, see `ListLoss`."""
        import keras

        from pipelines.models import ranking_losses

        if not self.of_lists:
            return keras.losses.BinaryCrossentropy(from_logits=True)
        return getattr(ranking_losses, self.keras_class)(list_length)


LOGISTIC = RankingLoss(
    ModelCard(
        name="logistic",
        family="pointwise",
        needs="whether a candidate was used",
        good_at="the default: its probabilities need the least calibration",
        source="logistic regression",
    )
)
WEIGHTED_LOGISTIC = RankingLoss(
    ModelCard(
        name="weighted_logistic",
        family="pointwise",
        needs="values of at least 0, such as seconds watched",
        good_at="what users spend most on: the odds of a pair are its expected value",
        source="Covington et al. 2016, Deep neural networks for YouTube recommendations",
    ),
    by_value=True,
)
SOFTMAX = RankingLoss(
    ModelCard(
        name="softmax",
        family="listwise",
        needs="lists with a used candidate",
        good_at="the top of the list; learns how candidates of one query differ, not how users do",
        source="Cao et al. 2007, Learning to rank: from pairwise approach to listwise approach",
    ),
    keras_class="SoftmaxLoss",
)
PAIRWISE_LOGISTIC = RankingLoss(
    ModelCard(
        name="pairwise_logistic",
        family="pairwise",
        needs="lists with a used candidate",
        good_at="the whole order: each used candidate before each that was not",
        source="Burges et al. 2005, Learning to rank using gradient descent",
    ),
    keras_class="PairwiseLogisticLoss",
)
PAIRWISE_HINGE = RankingLoss(
    ModelCard(
        name="pairwise_hinge",
        family="pairwise",
        needs="lists with a used candidate",
        good_at="as pairwise_logistic, but pairs that are in order by a margin teach nothing more",
        source="Joachims 2002, Optimizing search engines using clickthrough data",
    ),
    keras_class="PairwiseHingeLoss",
)
LIST_MLE = RankingLoss(
    ModelCard(
        name="list_mle",
        family="listwise",
        needs="lists with a used candidate; values order those that were used",
        good_at="graded use: which of the used candidates comes first counts, too",
        source="Xia et al. 2008, Listwise approach to learning to rank: theory and algorithm",
    ),
    keras_class="ListMLELoss",
)
