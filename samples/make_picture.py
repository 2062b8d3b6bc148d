"""Draw the README's picture: the noisy sample, what the bundled checkpoint makes of it, and the clean original.

Usage: `python samples/make_picture.py [OUTPUT.png]` (default `docs/before_after.png`), with the `eval` extra installed.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import soundfile
import torch

from speech_enhance import DEFAULT_CHECKPOINT, MelConfig, SpeechEnhancementPipeline, preset_settings
from speech_enhance.mel.spectrogram import stft

PRESET = "balanced"


def level_db(audio: np.ndarray) -> np.ndarray:
    """STFT magnitude `(frequencies, frames)` in dB."""
    magnitude = stft(torch.from_numpy(audio)[None], MelConfig())[0].abs()
    return 20 * np.log10(magnitude.numpy() + 1e-5)


def draw(recordings: dict[str, np.ndarray], rate: int, target: Path) -> None:
    """Spectrograms of `recordings` `(samples,)` by title, one above the other, on one scale of level."""
    figure, axes = plt.subplots(len(recordings), 1, figsize=(9, 6.6), sharex=True, sharey=True, layout="constrained")
    top = level_db(next(iter(recordings.values()))).max()
    for axis, (title, audio) in zip(axes, recordings.items(), strict=True):
        extent = (0, len(audio) / rate, 0, rate / 2000)
        image = axis.imshow(
            level_db(audio), origin="lower", aspect="auto", extent=extent, vmin=top - 70, vmax=top, cmap="magma"
        )
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="dB", shrink=0.6)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "docs" / "before_after.png"
    noisy, rate = soundfile.read(root / "samples" / "noisy.wav", dtype="float32")
    clean, _ = soundfile.read(root / "samples" / "clean.wav", dtype="float32")
    pipeline = SpeechEnhancementPipeline.from_pretrained(DEFAULT_CHECKPOINT)
    pipeline.scheduler, settings = preset_settings(PRESET, pipeline.scheduler.config)
    enhanced = pipeline(noisy, rate, **settings).audios
    draw({"noisy": noisy, f"enhanced ({PRESET})": enhanced, "clean original": clean}, rate, target)


if __name__ == "__main__":
    main()
