from tests.contracts.retriever import RetrieverContract

SMALL = {"dim": 16, "length": 8, "num_blocks": 1, "dropout": 0.0, "batch_size": 16, "epochs": 30, "patience": 30,
         "learning_rate": 0.03, "warmup_steps": 0, "xla": False}  # fmt: skip


class TestGRU(RetrieverContract):
    name = "gru"
    settings = SMALL | {"loss": "sampled_softmax", "negatives": "in_batch", "num_negatives": 24}


class TestSASRec(RetrieverContract):
    name = "sasrec"
    settings = SMALL | {
        "num_heads": 1,
        "loss": "gbce",
        "num_negatives": 24,
        "learning_rate": 0.005,
        "epochs": 120,
        "patience": 120,
    }


class TestHSTU(RetrieverContract):
    name = "hstu"
    settings = SMALL | {"num_heads": 1, "hidden_times": 0.2}


class TestYouTube(RetrieverContract):
    name = "youtube"
    settings = SMALL | {"loss": "sampled_softmax", "num_negatives": 24, "epochs": 15, "patience": 15}
    learns = 0.3  # it knows the circle and not the order in it
