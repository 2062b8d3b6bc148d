"""Make the examples of the page: synthetic speech in synthetic noise, so nobody else has rights in them.

    python spaces/make_examples.py          # the recordings; needs the program `espeak-ng`
    python spaces/make_examples.py --ready  # what the page plays before anybody has run anything: one of them, enhanced

The second command uses the bundled model; repeat it when that model changes.
"""

import json
import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr

if not __package__:  # run as a script: the repository is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.path.append(str(Path(__file__).resolve().parent))

from samples.make_samples import SAMPLING_RATE, speak, workshop_noise

FOLDER = Path(__file__).parent / "examples"
STREET_RATE = 44100


def mix(clean: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Mix `clean` with `noise` at `snr_db` over the active samples. The peak is 0.9."""
    active = np.abs(clean) > 0.01
    noisy = clean + noise / noise.std() * np.sqrt(np.mean(clean[active] ** 2)) * 10 ** (-snr_db / 20)
    return noisy / np.abs(noisy).max() * 0.9


def hiss(num_samples: int, rng: np.random.Generator, slope: float) -> np.ndarray:
    """Make noise whose magnitude falls with frequency to the power of `slope`."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    return np.fft.irfft(spectrum * np.maximum(np.arange(len(spectrum)), 50.0) ** -slope, num_samples)


def street(rng: np.random.Generator) -> np.ndarray:
    """Make a stereo example at 44.1 kHz: a voice left of the middle, and traffic that passes from right to left."""
    voice = soxr.resample(
        speak("The bus to the station leaves in five minutes, please wait at the corner."), SAMPLING_RATE, STREET_RATE
    )
    time = np.arange(len(voice)) / STREET_RATE
    passing = np.exp(-(((time - time[-1] / 2) / (time[-1] / 4)) ** 2))
    rumble, wind = hiss(len(voice), rng, 1.0), hiss(len(voice), rng, 0.5)
    place = np.clip(time / time[-1], 0, 1)
    sides = []
    for voice_share, share in ((1.0, place), (0.6, 1 - place)):
        sides.append(
            mix(voice, rumble / rumble.std() * (0.4 + passing * share) + 0.4 * wind / wind.std(), 6) * voice_share
        )
    return np.stack(sides, axis=1)


def telephone(rng: np.random.Generator) -> np.ndarray:
    """Make an example at 8 kHz: a voice on a hissing telephone line with hum."""
    voice = soxr.resample(
        speak("Hello, this is a message for the workshop. Please call me back after lunch."), SAMPLING_RATE, 8000
    )
    hum = np.sin(2 * np.pi * 50 * np.arange(len(voice)) / 8000)
    line = hiss(len(voice), rng, 0.2)
    return mix(voice, line / line.std() + 0.5 * hum, 5)


def make_ready(example: str = "workshop") -> None:
    """Write the value of the page's player for `example`, with a picture for every kind of page."""
    from results import REMOVED, player
    from serving import Enhancer, Limits, Settings, go_on, open_upload

    folder = FOLDER / "ready"
    folder.mkdir(exist_ok=True)
    recording = open_upload(FOLDER / f"{example}.flac", Limits())
    rate = recording.sampling_rate
    run = Enhancer(device="cpu").enhance(recording.audio, rate, Settings())
    versions = {"Original": recording.audio, "Enhanced": run.audio, REMOVED: recording.audio - run.audio}
    pictures = {}
    for size, width in (("wide", 780), ("narrow", 350)):
        for mode in ("light", "dark"):
            value = player(versions, rate, folder, f"{width},{mode}", columns=1, check=go_on)
            name = f"{size}-{mode}.webp"
            (folder / "picture.webp").replace(folder / name)
            pictures[f"{size}-{mode}"] = {"file": name, "span": value["picture"]["span"]}
    del value["picture"]
    tracks = [track | {"file": Path(track["file"]["path"]).name} for track in value["tracks"]]
    title = f"Example: {example}, enhanced by the bundled model"
    value |= {"title": title, "tracks": tracks, "pictures": pictures}
    (folder / "value.json").write_text(json.dumps(value) + "\n", encoding="utf-8")


def main() -> None:
    if sys.argv[1:] == ["--ready"]:
        make_ready()
        return
    FOLDER.mkdir(exist_ok=True)
    voice = speak("Good morning. Can you hear me over the fan? The new parts arrive on Thursday at nine.")
    workshop = mix(voice, workshop_noise(len(voice), np.random.default_rng(0)), 4)
    sounds = {
        "workshop": (workshop, SAMPLING_RATE),
        "street": (street(np.random.default_rng(1)), STREET_RATE),
        "telephone": (telephone(np.random.default_rng(2)), 8000),
    }
    for name, (audio, rate) in sounds.items():
        soundfile.write(FOLDER / f"{name}.flac", audio, rate, subtype="PCM_16")


if __name__ == "__main__":
    main()
