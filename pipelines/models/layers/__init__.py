"""Keras layers, one a file. Backend-agnostic: `keras.ops` only."""
