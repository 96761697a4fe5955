"""Who may look at whom in rows of several windows."""

from typing import Any

from keras import ops


def earlier_in_window(windows: Any) -> Any:
    """Return which positions each position may look at: itself and earlier ones of its window.

    Args:
        windows: number of the window at each position, `[batch, length]`.

    Returns:
        Boolean `[batch, length (looking), length (looked at)]`.
    """
    length = windows.shape[1]
    places = ops.arange(length)
    earlier = ops.expand_dims(places, 1) >= ops.expand_dims(places, 0)
    return ops.logical_and(ops.expand_dims(windows, 2) == ops.expand_dims(windows, 1), earlier)
