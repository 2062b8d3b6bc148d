"""What ready tracks cost: processor time of preparing them, by window, and of pairing them on a device.

    OMP_NUM_THREADS=1 python -m training.evaluation.benchmark_tracks --config training/configs/generation-two-base.yaml

Run it on an otherwise idle machine. Recordings are decoded before the clock starts, as `preload` does.
"""

import argparse
import dataclasses
import itertools
import time

import torch

from speech_enhance.mel.spectrogram import MelConfig

from ..config import TrainingConfig, load_config
from ..mixtures.tracks import PairedTracks, TrackConfig

_BATCHES = 5


def measure(config: TrainingConfig, number: int, device: str) -> dict[str, float]:
    """Milliseconds of one core for a pair of tracks, microseconds of one core for a window, and microseconds of the
    device for pairing a window.

    Args:
        config: A training config with `tracks`.
        number: Number of tracks of each kind to prepare.
        device: Device that pairs them.
    """
    if config.tracks is None:
        raise ValueError("the config has no `tracks`")
    uses = config.tracks.uses
    config = dataclasses.replace(config, preload=True, num_workers=0, tracks=TrackConfig(number, uses))
    settings = config.pipeline
    mel_config = MelConfig(
        **{name: value for name, value in settings.items() if name in MelConfig.__dataclass_fields__}
    )
    tracks = PairedTracks(config, mel_config, settings.get("window_frames", 384), 1000, torch.device(device))
    tracks.tracks[number]  # does the work that is needed once
    started = time.process_time()
    for index in range(number):
        tracks.tracks[index]
    prepared = time.process_time() - started
    batches = tracks.batches()
    next(batches)
    started = time.perf_counter()
    last = list(itertools.islice(batches, _BATCHES))[-1]
    float(last["noisy"].sum())  # waits for the device
    paired = time.perf_counter() - started - prepared / number * (_BATCHES * config.batch_size // uses)
    return {
        "pair_ms": 1e3 * prepared / number,
        "window_us": 1e6 * prepared / number / uses,
        "pairing_us": 1e6 * paired / _BATCHES / config.batch_size,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="training config with tracks")
    parser.add_argument("--number", type=int, default=200, help="tracks of each kind (default: %(default)s)")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where they are paired"
    )
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config)
        if config.tracks is None:
            raise ValueError(f"{options.config}: has no tracks")
        result = measure(config, options.number, options.device)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"a speech track and a noise track: {result['pair_ms']:.1f} ms of one core")
    print(f"by window, each used {config.tracks.uses} times: {result['window_us']:.0f} µs of one core")
    print(f"pairing a window on {options.device}: {result['pairing_us']:.0f} µs")


if __name__ == "__main__":
    main()
