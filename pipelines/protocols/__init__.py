"""Published evaluation protocols, each as its source defines it, so that every figure can be checked against theirs."""
