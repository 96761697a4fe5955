"""Models that score the whole corpus for a query: one contract, a file a model, listed in `catalogue`."""
