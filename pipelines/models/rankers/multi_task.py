"""Experts that two tasks share, mixed by a gate of each task."""

from dataclasses import replace
from typing import Any

from pydantic import Field

from pipelines.config import Section
from pipelines.models.rankers.base import DenseLayers, Ranker
from pipelines.models.retrievers.base import ModelCard


class MultiTaskSettings(Section):
    """What the tasks share and what each has for itself."""

    num_experts: int = Field(4, ge=1, description="networks that each task mixes by a gate; 1 is a shared bottom")
    tower_units: tuple[int, ...] = Field((16,), description="dense layers of each task, over its mixture")


class MultiTask(Ranker):
    """Multi-gate mixture of experts: each task weighs the experts by a softmax over all features.

    The tasks are the interaction and, where there was one, its value; with one expert both stand on a shared bottom.
    """

    card = ModelCard(
        name="multi_task",
        family="multi-task",
        needs="pairs of the ranking set; values, such as ratings or seconds, for its second task",
        good_at="the value matters, and is told from other things than the interaction; raise ranking.value_weight",
        source="Ma et al. 2018, Modeling task relationships in multi-task learning with multi-gate mixture-of-experts",
    )
    Settings = MultiTaskSettings

    def layers(self, features: Any, dense: DenseLayers) -> tuple[Any, Any]:
        """Return the last layer of each task's own tower."""
        count = self.settings.num_experts
        experts = [dense(features, place=expert) for expert in range(count)]
        tower = replace(dense, units=self.settings.tower_units)
        interaction, value = (
            tower(self._mixture(features, experts, task), place=count + number)
            for number, task in enumerate(("interaction", "value"))
        )
        return interaction, value

    def _mixture(self, features: Any, experts: list[Any], task: str) -> Any:
        """Return the experts' outputs as a task weighs them, `[batch, units]`."""
        import keras

        if len(experts) == 1:
            return experts[0]
        gate = keras.layers.Dense(len(experts), activation="softmax", name=f"{task}_gate")(features)
        stacked = keras.layers.Reshape((len(experts), -1))(keras.layers.Concatenate()(experts))
        return keras.layers.Dot(axes=1, name=f"{task}_mixture")([gate, stacked])
