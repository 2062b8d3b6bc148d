"""Room impulse responses for training, simulated once: random shoe-box rooms by the image-source method.

    python -m training.corpora.make_rooms --output runs/rooms.parquet

Writes a Parquet file for `rooms` of a training config. Its columns are `audio` (the talker's response, FLAC),
`noise_audio` (the response of a noise elsewhere in the room), `rt60` (seconds in which both decay by 60 dB), `distance`
(metres from talker to microphone), `room_length`, `room_width`, `room_height` (metres), `seed` and `index`. Room
`index` is a function of `(seed, index)` and the options alone.
"""

import argparse
from pathlib import Path

import numpy as np
from datasets import Audio, Features, Value
from tqdm.auto import tqdm

from speech_enhance.audio.parquet import write_parquet
from training.corpora.shards import flac
from training.mixtures.rooms import LONGEST_DECAY, LONGEST_DISTANCE, SHORTEST_DECAY, simulate_room


def room_row(
    seed: int, index: int, sampling_rate: int, rt60: tuple[float, float], distance: tuple[float, float]
) -> dict:
    """One row of the file; decay and distance are drawn evenly from their ranges."""
    rng = np.random.default_rng((seed, index))
    decay, metres = rng.uniform(*rt60), rng.uniform(*distance)
    size, *responses = simulate_room(rng, sampling_rate, decay, metres)
    talker, noise = (0.99 * response / np.abs(response).max() for response in responses)
    length, width, height = (float(side) for side in size)
    return {
        "audio": flac(talker, sampling_rate, f"room-{index:05d}", subtype="PCM_24"),
        "noise_audio": flac(noise, sampling_rate, f"room-{index:05d}-noise", subtype="PCM_24"),
        "rt60": float(decay),
        "distance": float(metres),
        "room_length": length,
        "room_width": width,
        "room_height": height,
        "seed": seed,
        "index": index,
    }


def room_features(sampling_rate: int) -> Features:
    """Columns of the file."""
    numbers = ("rt60", "distance", "room_length", "room_width", "room_height")
    counts = dict.fromkeys(("seed", "index"), Value("int64"))
    sounds = dict.fromkeys(("audio", "noise_audio"), Audio(sampling_rate=sampling_rate))
    return Features({**sounds, **dict.fromkeys(numbers, Value("float64")), **counts})


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    parser.add_argument(
        "--count", type=int, default=300, help="number of rooms, 0.2 to 10 s each, the longer the more they reverberate"
    )
    parser.add_argument(
        "--rt60",
        type=float,
        nargs=2,
        default=(SHORTEST_DECAY, LONGEST_DECAY),
        metavar=("LOW", "HIGH"),
        help="in seconds",
    )
    parser.add_argument(
        "--distance", type=float, nargs=2, default=(0.5, LONGEST_DISTANCE), metavar=("LOW", "HIGH"), help="in metres"
    )
    parser.add_argument("--sampling-rate", type=int, default=16000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.output.suffix != ".parquet":
        parser.error(f"--output must end in .parquet, got {options.output}")
    if options.count < 1 or options.sampling_rate < 8000 or options.seed < 0:
        parser.error("--count must be at least 1, --sampling-rate at least 8000 and --seed at least 0")
    if not SHORTEST_DECAY <= options.rt60[0] <= options.rt60[1] <= LONGEST_DECAY:
        parser.error(f"--rt60 must be LOW HIGH in [{SHORTEST_DECAY}, {LONGEST_DECAY}] s, got {options.rt60}")
    if not 0.1 <= options.distance[0] <= options.distance[1] <= LONGEST_DISTANCE:
        parser.error(f"--distance must be LOW HIGH in [0.1, {LONGEST_DISTANCE:g}] m, got {options.distance}")
    try:
        import pyroomacoustics  # noqa: F401
    except ImportError:
        parser.error("rooms need pyroomacoustics: pip install pyroomacoustics")
    rooms = range(options.count)
    rows = (
        room_row(options.seed, index, options.sampling_rate, options.rt60, options.distance)
        for index in tqdm(rooms, desc="rooms", unit="room")
    )
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(options.output, rows, room_features(options.sampling_rate))
    except OSError as error:
        parser.error(f"{options.output}: {error}")


if __name__ == "__main__":
    main()
