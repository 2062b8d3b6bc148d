"""What happens to recordings beside the noise: level of speech, the band above the model's, window borders.

    python -m training.evaluation.measure_recordings --output training/results/recordings

Writes OUTPUT.json and OUTPUT.md. Noise and bands are computed, so only the pairs are data.
"""

import argparse

import numpy as np

from training.evaluation.reports import table, write_report
from training.mixtures.filters import brick_wall
from training.validation import Pair, add_arguments, load_measured

FRAME = 512
ACTIVE_DB = 30.0  # frames that lie further below the loudest frame of the clean recording are not speech
WIDE_RATE = 48000


def active_frames(clean: np.ndarray) -> np.ndarray:
    """Which frames of [`FRAME`] samples of a clean recording at 16 kHz hold speech."""
    power = frame_power(clean)
    return power > power.max() * 10 ** (-ACTIVE_DB / 10)


def frame_power(audio: np.ndarray, frame: int = FRAME) -> np.ndarray:
    """Mean power of every whole frame of `(samples,)`."""
    return np.square(audio[: len(audio) // frame * frame].astype(np.float64).reshape(-1, frame)).mean(axis=1)


def speech_level_error_db(pipeline, pair: Pair, snr_db: float) -> float:
    """Level of the enhanced speech over that of the clean reference, in dB, on speech-active frames. The noise of
    `pair` is set to `snr_db` below the speech (power over the whole recording)."""
    noise = pair.noisy - pair.clean
    noise *= np.sqrt(np.square(pair.clean).mean() / np.square(noise).mean() / 10 ** (snr_db / 10))
    enhanced = pipeline(pair.clean + noise, pipeline.config.sampling_rate).audios
    active = active_frames(pair.clean)
    return decibel(frame_power(enhanced)[active].sum() / frame_power(pair.clean)[active].sum())


def upper_band_change_db(
    pipeline, clean: np.ndarray, seed: int = 0, lowest_hiss: float | None = None
) -> dict[str, float]:
    """What happens above 8 kHz to a recording at 48 kHz: the change of energy from 9 to 20 kHz in dB. `speech` is where
    air follows the speech's upper band; `pauses` is 1.5 s of steady white hiss alone at the end. With `lowest_hiss`, a
    frequency in Hz, there is hiss above it only."""
    import soxr

    generator = np.random.default_rng(seed)
    wide = soxr.resample(np.concatenate([clean, np.zeros(2 * 16000, np.float32)]), 16000, WIDE_RATE)
    power = np.square(brick_wall(wide, WIDE_RATE, 4000, 7500))
    envelope = np.sqrt(np.convolve(power, np.full(960, 1 / 960), mode="same"))
    white = generator.standard_normal((2, len(wide)))
    air = 0.5 * envelope * brick_wall(white[0], WIDE_RATE, 9000, 20000)
    hiss = 0.003 * (white[1] if lowest_hiss is None else brick_wall(white[1], WIDE_RATE, lowest_hiss, WIDE_RATE))
    recording = (wide + air + hiss).astype(np.float32)
    enhanced = pipeline(recording, WIDE_RATE).audios
    frame = 3 * FRAME
    level = frame_power(envelope, frame)
    in_pause = np.arange(len(level)) * frame > len(recording) - 1.5 * WIDE_RATE
    places = {"speech": level > level.max() * 0.03, "pauses": in_pause}
    before, after = (frame_power(brick_wall(audio, WIDE_RATE, 9000, 20000), frame) for audio in (recording, enhanced))
    return {name: decibel(after[where].sum() / before[where].sum()) for name, where in places.items()}


def border_steps_db(pipeline, audio: np.ndarray) -> dict[str, float]:
    """Mean step between the gains of neighbouring 32 ms frames at 16 kHz, in dB: in the cross-fades of windows
    (`borders`) and elsewhere (`inside`). A gain is the level of the enhanced recording over that of the recording."""
    layout = pipeline.config
    enhanced = pipeline(audio, layout.sampling_rate).audios
    gain_db = 10 * np.log10((frame_power(enhanced) + 1e-12) / (frame_power(audio) + 1e-12))
    steps = np.abs(np.diff(gain_db))
    stride = layout.window_frames - layout.overlap_frames
    mel_frame = (np.arange(len(steps)) + 1) * FRAME / layout.hop_length
    at_border = (mel_frame % stride < layout.overlap_frames) & (mel_frame >= stride)
    return {"borders": float(steps[at_border].mean()), "inside": float(steps[~at_border].mean())}


def decibel(ratio: float) -> float:
    return float(10 * np.log10(max(ratio, 1e-12)))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, limit=20)
    options = parser.parse_args(arguments)
    pairs, pipeline = load_measured(parser, options)
    speech = np.concatenate([pair.noisy for pair in pairs[:8]])
    hiss = (0.05 * np.random.default_rng(0).standard_normal(60 * 16000)).astype(np.float32)
    results = {
        "level_error_db": {pair.id: speech_level_error_db(pipeline, pair, 10.0) for pair in pairs},
        "upper_band_db": {pair.id: upper_band_change_db(pipeline, pair.clean) for pair in pairs},
        "upper_hiss_db": {pair.id: upper_band_change_db(pipeline, pair.clean, lowest_hiss=9000) for pair in pairs},
        "border_steps_db": {
            "white noise": border_steps_db(pipeline, hiss),
            "noisy speech": border_steps_db(pipeline, speech),
        },
    }
    write_report(options.output, results, markdown(results, f"{options.pairs} ({len(pairs)} files)"))


def markdown(results: dict, data: str) -> str:
    """The figures as a table."""
    level = np.array(list(results["level_error_db"].values()))
    upper, hiss = (
        {name: np.array([row[name] for row in results[case].values()]) for name in ("speech", "pauses")}
        for case in ("upper_band_db", "upper_hiss_db")
    )
    lines = [
        f"# What happens beside the noise, on {data}",
        "",
    ]
    rows = {
        "level of enhanced speech over the clean one, speech-active frames, noise at 10 dB SNR": level,
        "9-20 kHz of a 48 kHz recording, air in speech": upper["speech"],
        "9-20 kHz of a 48 kHz recording, hiss in pauses": upper["pauses"],
        "the same with hiss above 9 kHz only, air in speech": hiss["speech"],
        "the same with hiss above 9 kHz only, hiss in pauses": hiss["pauses"],
    }
    cells = [[name, f"{v.mean():+.1f} dB", f"{v.min():+.1f} to {v.max():+.1f} dB"] for name, v in rows.items()]
    lines += table(["measure", "mean", "range over files"], cells)
    steps = [
        [name, f"{row['borders']:.2f} dB", f"{row['inside']:.2f} dB"]
        for name, row in results["border_steps_db"].items()
    ]
    headings = ["mean step of the gain between 32 ms frames", "where windows overlap", "elsewhere"]
    lines += ["", *table(headings, steps)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
