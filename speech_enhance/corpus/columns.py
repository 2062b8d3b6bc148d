"""Columns of an enhanced corpus. Columns without sound pass through unchanged in Arrow's form."""

from dataclasses import dataclass
from functools import cached_property

import pyarrow
from datasets import Audio, Features, Value

from .shard import EnhancedRow


@dataclass(frozen=True)
class OutputColumns:
    """Columns of the output: those of the input with enhanced sound, and a column that says why a row has no sound.

    Args:
        features: Columns of the input (`datasets.Features`).
        audio: Name of the column to enhance.
        layout: Layout of the output, `parquet` or `audiofolder`. In an `audiofolder`, a column `file_name` or
            `*_file_name` replaces the sound. Other columns of such names get `_of_input` at their end, because Datasets
            would take them for links to files.
    """

    features: Features
    audio: str
    layout: str

    @cached_property
    def renamed(self) -> dict[str, str]:
        """New names of the input columns that are renamed in the output, by their old names."""
        taken, renamed = set(self.features), {}
        for name in self.features:
            if self.layout == "audiofolder" and name.removesuffix("s").endswith("file_name"):
                renamed[name] = _free_name(f"{name}_of_input", taken)
                taken.add(renamed[name])
        return renamed

    @cached_property
    def error(self) -> str:
        """Name of the column that holds the errors."""
        return _free_name("enhancement_error", set(self.features))

    @property
    def sound(self) -> str:
        """Name of the column that holds the sound or the files' names."""
        if self.layout == "parquet":
            return self.audio
        return "file_name" if self.audio == "audio" else f"{self.audio}_file_name"

    @cached_property
    def schema(self) -> pyarrow.Schema:
        """Schema of the output, with Datasets' metadata about the columns."""
        columns = {name: feature for name, feature in self.features.items() if name != self.audio}
        if self.layout == "parquet":
            return Features({**self.features, self.audio: Audio(), self.error: Value("string")}).arrow_schema
        columns = {self.renamed.get(name, name): self._plain(name) for name in columns}
        return Features({self.sound: Value("string"), **columns, self.error: Value("string")}).arrow_schema

    def _plain(self, name: str):
        """Return the feature of a column without its sound types: the loader of an `audiofolder` would look for files
        there."""
        if "Audio(" not in repr(self.features[name]):
            return self.features[name]
        return Features.from_arrow_schema(self.features.arrow_schema.remove_metadata())[name]

    def table(self, row: EnhancedRow, sound: dict | str | None) -> pyarrow.Table:
        """Return a row of the output as a table.

        Args:
            row: Row to write.
            sound: Entry of the row in the column [`sound`].
        """
        original = {self.renamed.get(name, name): name for name in self.features}
        made = {self.sound: sound, self.error: row.report["error"]}
        columns = []
        for field in self.schema:
            if field.name in made:
                columns.append(pyarrow.array([made[field.name]], field.type))
            else:
                columns.append(row.row.columns.column(original[field.name]).cast(field.type))
        return pyarrow.Table.from_arrays(columns, schema=self.schema)


def _free_name(name: str, taken: set[str]) -> str:
    """Return `name` if it is not in `taken`, else `name` with the lowest number from 2 on that makes it free."""
    names = [name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))]
    return next(item for item in names if item not in taken)
