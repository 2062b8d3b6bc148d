"""Noisy/clean pairs for validation: passages of known talkers, noise of known recordings, a stated ratio."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
from datasets import Audio, Features, Value

from ..bounds import COUNT, DECIBELS, NOT_NEGATIVE, Bounds, check_numbers
from ..corpora.shards import flac
from ..mixtures.augment import active_rms
from ..mixtures.mixing import noise_scale
from ..mixtures.sources import AudioSource, SourceConfig


@dataclass(frozen=True)
class PairsConfig:
    """A fixed set of pairs.

    Args:
        number: Number of pairs.
        babble: Number of pairs whose noise is other talkers.
        babble_talkers: Fewest and most talkers of a babble.
        snr_db: Ratios of active speech to noise, which the pairs use in turn.
        seconds: Lengths of the shortest and the longest pair.
        minimum_dynamic_range_db: Dynamic range below which speech is not clean enough to be a reference.
    """

    number: int = 60
    babble: int = 10
    babble_talkers: tuple[int, int] = (4, 8)
    snr_db: list[float] = field(default_factory=lambda: [-2.5, 2.5, 7.5, 12.5, 17.5])
    seconds: tuple[float, float] = (3.0, 6.5)
    minimum_dynamic_range_db: float = 25.0

    def __post_init__(self):
        if not 0 <= self.babble <= self.number or not self.snr_db:
            raise ValueError(f"babble must be in [0, number = {self.number}] and snr_db not empty, got {self.babble}")
        check_numbers(
            self,
            number=COUNT,
            babble=NOT_NEGATIVE,
            babble_talkers=Bounds(1, 1000),
            snr_db=DECIBELS,
            seconds=Bounds(0, 3600, without_low=True),
            minimum_dynamic_range_db=DECIBELS,
        )


def pair_features(
    sampling_rate: int, *text: str, audio: tuple[str, ...] = (), numbers: tuple[str, ...] = ()
) -> Features:
    """Columns of a file of pairs; `audio`, `text` and `numbers` name further columns of these kinds, after `noisy`."""
    sound, string, number = Audio(sampling_rate=sampling_rate), Value("string"), Value("float64")
    first = {"id": string} | dict.fromkeys(("clean", "noisy", *audio), sound)
    middle = dict.fromkeys(text, string) | dict.fromkeys((*numbers, "snr_db"), number)
    last = {"noise": string, "speaker_id": string, "duration": number, "licence": string}
    return Features(first | middle | last)


class Talkers:
    """Recordings of speech by talker; without a column `speaker_id` each recording is a talker of its own.

    Args:
        config: Source of the recordings.
        sampling_rate: Rate to which they are resampled.
        without: Rows that are not used.
    """

    def __init__(self, config: SourceConfig, sampling_rate: int, without: Collection[int] = ()):
        self.source = AudioSource(config, sampling_rate, cache=False)
        self.rows: dict[str, list[int]] = defaultdict(list)
        known = "speaker_id" in self.source.info.column_names
        speakers = self.source.info["speaker_id"] if known else [f"recording-{row}" for row in range(len(self.source))]
        for row, speaker in enumerate(speakers):
            if row not in without:
                self.rows[str(speaker)].append(row)
        self.names = sorted(self.rows)

    def passage(self, speaker: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Speech of one talker: a part of an utterance, or several with pauses of 0.3 s if they are short."""
        rows = rng.permutation(self.rows[speaker])
        track = self.source[int(rows[0])]
        if len(track) > num_samples:
            start = int(rng.integers(0, len(track) - num_samples))
            return track[start : start + num_samples]
        pause = np.zeros(round(0.3 * self.source.sampling_rate), np.float32)
        count = 1
        while len(track) < num_samples:  # a talker with little speech says it again
            track = np.concatenate([track, pause, self.source[int(rows[count % len(rows)])]])
            count += 1
        return track[:num_samples]

    def babble(
        self, speaker: str, talkers: tuple[int, int], num_samples: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[str]]:
        """Several talkers at once, none of them `speaker`, at unequal level; and their names."""
        others = [name for name in self.names if name != speaker]
        if not others:
            raise ValueError(f"{self.source.config.path}: babble needs a second talker, found {speaker} only")
        count = min(int(rng.integers(talkers[0], talkers[1] + 1)), len(others))
        chosen = [str(name) for name in rng.choice(others, count, replace=False)]
        parts = [self.passage(name, num_samples, rng) for name in chosen]
        levels = rng.uniform(0.4, 1.0, count)
        track = np.zeros(num_samples)
        for level, part in zip(levels, parts, strict=True):
            track += level * part / max(active_rms(part), 1e-4)
        return track.astype(np.float32), chosen

    def licence(self, speaker: str) -> str | None:
        """Licence of a talker's recordings, where there is such a column."""
        return column(self.source, "licence", self.rows[speaker][0])


def recorded_noise(
    noise: AudioSource, num_samples: int, rng: np.random.Generator, without: Collection[int] = ()
) -> tuple[np.ndarray, str, str | None]:
    """A part of a recording, and its name and licence. A short recording is repeated from a random point. Rows of
    `without` are not used."""
    for _ in range(100):  # some recordings are silent for long
        row = int(rng.integers(len(noise)))
        if row in without:
            continue
        recording = noise[row]
        start = int(rng.integers(0, max(1, len(recording) - num_samples + 1)))
        part = recording[start : start + num_samples]
        if len(part) < num_samples:
            part = np.resize(np.roll(part, int(rng.integers(0, len(part)))), num_samples)
        if np.sqrt(np.mean(part**2)) > 1e-3:
            name = "/".join(filter(None, (column(noise, "corpus", row), column(noise, "label", row)))) or f"row {row}"
            return part, name, column(noise, "licence", row)
    raise ValueError(f"{noise.config.path}: holds almost nothing but silence")


def at_ratio(clean: np.ndarray, background: np.ndarray, snr_db: float) -> np.ndarray:
    """`background` at the level that puts it `snr_db` below active speech."""
    return background * np.float32(noise_scale(clean, background, snr_db))


def peak_at_most(limit: float, *tracks: np.ndarray) -> tuple[np.ndarray, ...]:
    """All tracks times one factor, so that none exceeds `limit`."""
    peak = max(float(np.abs(track).max()) for track in tracks)
    return tuple(track * np.float32(min(1.0, limit / max(peak, 1e-9))) for track in tracks)


def joined(*licences: str | None) -> str:
    """The licences of all parts of a mixture, each once."""
    return " + ".join(dict.fromkeys(filter(None, licences)))


def pair_rows(
    talkers: Talkers,
    noise: AudioSource,
    config: PairsConfig,
    seed: int,
    name: str = "valid",
    without_noise: Collection[int] = (),
) -> Iterator[dict]:
    """Rows of pairs; row `i` depends on `(seed, i)` and the recordings alone. Their ids begin with `name`; noise of the
    rows `without_noise` is not used."""
    rate = talkers.source.sampling_rate
    order = np.random.default_rng(seed).permutation(talkers.names)
    for index in range(config.number):
        rng = np.random.default_rng((seed, index))
        speaker = str(order[index % len(order)])
        num_samples = round(rng.uniform(*config.seconds) * rate)
        clean = talkers.passage(speaker, num_samples, rng)
        # Spread evenly: the floor of i · babble / number rises at every pair that has babble.
        if (index + 1) * config.babble // config.number > index * config.babble // config.number:
            background, others = talkers.babble(speaker, config.babble_talkers, num_samples, rng)
            label, licences = "babble", [talkers.licence(other) for other in others]
        else:
            background, label, licence = recorded_noise(noise, num_samples, rng, without_noise)
            licences = [licence]
        snr_db = config.snr_db[index % len(config.snr_db)]
        clean, noisy = peak_at_most(0.99, clean, clean + at_ratio(clean, background, snr_db))
        yield {
            "id": f"{name}_{index:03d}",
            "clean": flac(clean, rate, f"clean_{index:03d}"),
            "noisy": flac(noisy, rate, f"noisy_{index:03d}"),
            "snr_db": snr_db,
            "noise": label,
            "speaker_id": speaker,
            "duration": num_samples / rate,
            "licence": joined(talkers.licence(speaker), *licences),
        }


def column(source: AudioSource, name: str, row: int) -> str | None:
    """Value of a text column, `None` where there is none."""
    return str(source.info[row][name]) if name in source.info.column_names else None
