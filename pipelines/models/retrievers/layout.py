"""How serving numbers items and users, which a model's export has to translate into its own codes.

Serving numbers them as vocabularies do: 0 is padding or nothing, then buckets for the unseen, then what the model
knows. Within an exported graph a model sees its own codes plus one: 0 is nothing, `1 + code` what it knows, histories
right-aligned and without gaps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """How serving numbers what a model knows.

    Attributes:
        history_length: columns of the input `history`, newest last.
        first_item: number of the model's item 0.
        num_items: items the model knows.
        first_user: number of the model's user 0.
        num_users: users the model knows.
        segments: number of each segment's attribute in the input `attributes`; empty where there are no segments.
        first_device: number of the model's device 0.
        num_devices: devices the model knows.
    """

    history_length: int
    first_item: int
    num_items: int
    first_user: int
    num_users: int
    segments: tuple[int, ...] = ()
    first_device: int = 0
    num_devices: int = 0

    def item_rows(self, vectors: Floats, unseen: Floats) -> Floats:
        """Return a row for each number of an item; all that is no known item has the vector `unseen`."""
        table = np.empty((self.first_item + self.num_items, vectors.shape[1]), dtype=np.float32)
        table[: self.first_item], table[self.first_item :] = unseen, vectors
        return table
