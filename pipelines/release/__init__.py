"""The release: the one unit that is promoted and served, bound together by its manifest."""
