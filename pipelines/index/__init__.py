"""Nearest-neighbour search over item embeddings: exact in numpy, approximate in ScaNN."""
