"""What the encoders of queries and of items have in common: their parts, and how they are kept in a folder."""

import json
from pathlib import Path
from typing import ClassVar, Self

from pipelines.inputs.numbers import NumberEncoder
from pipelines.inputs.vocabulary import Vocabulary


class Encoder:
    """Vocabularies, widths of list inputs, and scales of numbers, all fitted on the training window.

    Args:
        vocabularies: name -> vocabulary, of the names in `VOCABULARIES`.
        widths: list input -> number of columns.
        number_encoder: scales of the numeric features.
    """

    VOCABULARIES: ClassVar[tuple[str, ...]]
    FILE: ClassVar[str]

    def __init__(
        self, vocabularies: dict[str, Vocabulary], widths: dict[str, int], number_encoder: NumberEncoder
    ) -> None:
        self.vocabularies = vocabularies
        self.widths = widths
        self.numbers = number_encoder

    def save(self, folder: Path) -> None:
        """Write the encoder into `folder` as Parquet and JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, vocabulary in self.vocabularies.items():
            vocabulary.save(folder, name)
        manifest = {"widths": self.widths, "numbers": self.numbers.to_dict()}
        (folder / self.FILE).write_text(json.dumps(manifest, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        manifest = json.loads((folder / cls.FILE).read_text())
        vocabularies = {name: Vocabulary.load(folder, name) for name in cls.VOCABULARIES}
        return cls(vocabularies, manifest["widths"], NumberEncoder.from_dict(manifest["numbers"]))
