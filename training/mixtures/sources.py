"""Sources of recordings to draw from. Several corpora act as one; each is held in memory or streamed."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from speech_enhance.audio.datasets import known_column, load_audio_dataset

from ..bounds import COUNT, NOT_NEGATIVE, POSITIVE, Bounds, check_numbers
from ..corpora.sides import valid_units
from .loading import decode_row


@dataclass(frozen=True)
class SourceConfig:
    """Where recordings come from and how often each is drawn.

    Args:
        path: Parquet file or pattern, a folder of audio files, or the name of a dataset on the Hub.
        name: Configuration of a Hub dataset.
        split: Split to load.
        column: Audio column. Sources of pairs do not use it: their columns are `clean` and `noisy`.
        balance_by: Column whose values (corpus, talker) are drawn by hours to the power of `balance_power`, so that
            no single one dominates. Without it every row is equally likely.
        minimum: Lower bounds by column. Rows below a bound, or without a value there, are left out.
        only: Values by column. Rows with other values are left out.
        valid_share: Share of the recordings (of the talkers, where a column `speaker_id` names them) that training
            leaves out, see `own_pairs` of the training config. If there are two or more, each side has one at least.
        side: Side that is read, `train` or `valid`.
        weight: Frequency of draws from this source, relative to the others of its list.
        streaming: Whether the corpus is streamed instead of downloaded. Draws then come from a buffer, which moves on
            with every training example.
        buffer_size, refresh: Number of rows in this buffer, and number of rows by which it moves on.
    """

    path: str
    name: str | None = None
    split: str = "train"
    column: str = "audio"
    balance_by: str | None = None
    balance_power: float = 0.5
    minimum: dict[str, float] | None = None
    only: dict[str, str] | None = None
    valid_share: float = 0.0
    side: str = "train"
    weight: float = 1.0
    streaming: bool = False
    buffer_size: int = 500
    refresh: float = 0.1

    def __post_init__(self):
        if self.streaming and self.balance_by:
            raise ValueError(f"{self.path}: `balance_by` needs the whole dataset, `streaming` sees a part of it")
        if self.streaming and self.valid_share > 0:
            raise ValueError(f"{self.path}: `valid_share` needs the whole dataset, `streaming` sees a part of it")
        if self.side not in ("train", "valid"):
            raise ValueError(f"side must be train or valid, got {self.side!r}")
        check_numbers(self, balance_power=Bounds(0, 10), weight=POSITIVE, buffer_size=COUNT, refresh=NOT_NEGATIVE)


class AudioSource:
    """Random access to decoded mono recordings at one sampling rate, drawn by weight.

    A recording is float32 in [-1, 1], `(samples,)`, or `(len(columns), samples)` if there are several columns.
    Recordings are decoded on first use and kept as 16-bit integers when `cache` is on (115 MB an hour at 16 kHz).
    """

    def __init__(
        self, config: SourceConfig, sampling_rate: int, columns: tuple[str, ...] | None = None, cache: bool = True
    ):
        self.config, self.sampling_rate = config, sampling_rate
        self.columns = columns or (config.column,)
        self._decoded: dict[int, np.ndarray] | None = {} if cache else None
        dataset = load_audio_dataset(config.path, config.split, list(self.columns), config.name)
        for column, bound in (config.minimum or {}).items():
            values = np.asarray(dataset.with_format("numpy")[known_column(column, dataset, config.path)], dtype=float)
            dataset = dataset.select(np.flatnonzero(values >= bound))
        for column, value in (config.only or {}).items():
            values = np.asarray(dataset[known_column(column, dataset, config.path)])
            dataset = dataset.select(np.flatnonzero(values == value))
        if config.valid_share > 0 or config.side == "valid":
            dataset = dataset.select(_rows_of_side(dataset, config))
        if len(dataset) == 0:
            raise ValueError(_none_left(config))
        self.info = dataset.remove_columns(list(self.columns))  # the other columns, row by row
        self._audio = dataset.select_columns(list(self.columns))
        self._cumulative = np.cumsum(_row_weights(dataset, config))

    def __len__(self) -> int:
        return len(self._audio)

    def __getitem__(self, index: int) -> np.ndarray:
        """The recording with this index."""
        if self._decoded is None:
            return self._decode(index)
        if index not in self._decoded:
            self._decoded[index] = np.round(self._decode(index).clip(-1, 32767 / 32768) * 32768).astype(np.int16)
        return np.multiply(self._decoded[index], np.float32(1 / 32768), dtype=np.float32)

    def preload(self) -> None:
        """Decode all recordings now, on all cores, so that processes that fork later share them."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            deque(threads.map(self.__getitem__, range(len(self))), maxlen=0)

    def seek(self, index: int) -> None:
        """All recordings are at hand for every training example."""

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A recording at random, by the weights of the configuration."""
        return self[_draw(self._cumulative, rng)]

    def _decode(self, index: int) -> np.ndarray:
        return decode_row(self._audio[index], self.columns, self.sampling_rate, f"{self.config.path}, row {index}")


class StreamingSource:
    """Recordings of a dataset that is streamed, e.g. from the Hub, and never held whole.

    Training example `i` draws from the rows `i · refresh` to `i · refresh + buffer_size` of the dataset repeated
    endlessly. So what it draws does not depend on the process or worker, nor on what was drawn before; a resumed run
    reads up to where it was.
    """

    def __init__(self, config: SourceConfig, sampling_rate: int, columns: tuple[str, ...] | None = None):
        self.config, self.sampling_rate = config, sampling_rate
        self.columns = columns or (config.column,)
        self._dataset = load_audio_dataset(config.path, config.split, list(self.columns), config.name, streaming=True)
        self._rows = None  # opened on first use: a file opened before workers fork would be shared by them

    def seek(self, index: int) -> None:
        """Move the buffer to where training example `index` draws from."""
        first = int(index * self.config.refresh)
        if self._rows is None or first < self._end - self.config.buffer_size:
            self._rows, self._end = self._endless_rows(), 0
            self._buffer = deque(maxlen=self.config.buffer_size)
        while self._end < first + self.config.buffer_size:
            self._buffer.append(next(self._rows))
            self._end += 1

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A recording at random out of the buffer."""
        row = self._buffer[int(rng.integers(len(self._buffer)))]
        return decode_row(row, self.columns, self.sampling_rate, self.config.path)

    def _endless_rows(self):
        minimum, only = self.config.minimum or {}, self.config.only or {}
        for column in minimum | only:
            known_column(column, self._dataset, self.config.path)
        while True:
            empty = True
            # plain iteration would divide the rows among the workers of a DataLoader
            for batch in self._dataset.iter(batch_size=1):
                row = {column: values[0] for column, values in batch.items()}
                enough = all(row[column] is not None and row[column] >= bound for column, bound in minimum.items())
                if enough and all(row[column] == value for column, value in only.items()):
                    empty = False
                    yield {column: row[column] for column in self.columns}
            if empty:
                raise ValueError(_none_left(self.config))


class SourceMix:
    """Several sources as one: `draw` picks a source by its weight, then a recording. With `preload` all recordings that
    are not streamed are decoded at once."""

    def __init__(
        self,
        configs: list[SourceConfig],
        sampling_rate: int,
        columns: tuple[str, ...] | None = None,
        preload: bool = False,
    ):
        if not configs:
            raise ValueError("at least one source of recordings is needed")
        self.sampling_rate = sampling_rate
        self.sources = [
            (StreamingSource if config.streaming else AudioSource)(config, sampling_rate, columns) for config in configs
        ]
        self._cumulative = np.cumsum([config.weight for config in configs], dtype=float)
        for source in self.sources:
            if preload and isinstance(source, AudioSource):
                source.preload()

    def seek(self, index: int) -> None:
        """Tell streaming sources which training example draws next."""
        for source in self.sources:
            source.seek(index)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A recording at random."""
        return self.sources[_draw(self._cumulative, rng)].draw(rng)


def _draw(cumulative: np.ndarray, rng: np.random.Generator) -> int:
    """An index at random, by weights whose cumulative sums are given."""
    index = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
    return int(min(index, len(cumulative) - 1))


def _none_left(config: SourceConfig) -> str:
    side = f", {config.side} side at valid_share {config.valid_share}" if config.valid_share > 0 else ""
    return f"{config.path}: no recordings left (minimum: {config.minimum}, only: {config.only}{side})"


def _rows_of_side(dataset: Dataset, config: SourceConfig) -> np.ndarray:
    """Rows on the side that `config` asks for."""
    known = "speaker_id" in dataset.column_names
    units = [str(name) for name in (dataset["speaker_id"] if known else range(len(dataset)))]
    valid = valid_units(units, config.valid_share, "source")
    return np.flatnonzero([(unit in valid) == (config.side == "valid") for unit in units])


def _row_weights(dataset: Dataset, config: SourceConfig) -> np.ndarray:
    if config.balance_by is None:
        return np.ones(len(dataset))
    groups = np.asarray(dataset[config.balance_by])
    hours = np.asarray(dataset["duration"], float) if "duration" in dataset.column_names else np.ones(len(dataset))
    weights = np.zeros(len(dataset))
    for group in np.unique(groups):
        members = groups == group
        weights[members] = hours[members].sum() ** config.balance_power * hours[members] / hours[members].sum()
    return weights
