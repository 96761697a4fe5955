"""Models that predict the rating a user gives an item: one contract, a file a model, listed in `catalogue`."""
