"""Systems to compare with: what each makes of noisy recordings.

A system takes pairs at 16 kHz, of which it looks at `noisy`, and returns one float32 `(samples,)` for each, as long as
the noisy recording and aligned with it. Settings are the packages' defaults unless said otherwise.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speech_enhance.audio.datasets import audio_extensions
from speech_enhance.optional_packages import import_package
from speech_enhance.wording import counted
from training import validation

from ..validation import Pair
from .neural_systems import DeepFilterNet3, Dtln, NsNet2

if TYPE_CHECKING:
    from speech_enhance import LiveTiming, SpeechEnhancementPipeline

System = Callable[[list[Pair]], list[np.ndarray]]
SAMPLING_RATE = 16000
LIVE_BLOCK = 256
"""Samples of a block of live sound: 16 ms."""
RNNOISE_RATE, RNNOISE_DELAY = 48000, 960
"""RNNoise runs at 48 kHz and answers two frames of 10 ms late."""
WPE_WINDOW, WPE_HOP = 512, 128
WEBRTC_FRAME, WEBRTC_DELAY, WEBRTC_LEVEL = 160, 96, 3
"""WebRTC runs in frames of 10 ms and answers 6 ms late. Its level is the third of four, "high"."""


def untouched(pairs: list[Pair]) -> list[np.ndarray]:
    return [pair.noisy for pair in pairs]


def spectral_gating(pairs: list[Pair]) -> list[np.ndarray]:
    """noisereduce (Sainburg et al. 2020)."""
    import noisereduce

    outputs = [noisereduce.reduce_noise(y=_dithered(pair.noisy), sr=SAMPLING_RATE) for pair in pairs]
    return [output.astype(np.float32) for output in outputs]


def spectral_subtraction(pairs: list[Pair]) -> list[np.ndarray]:
    """pyroomacoustics' spectral subtraction: frames of 512, at most 25 dB down. It subtracts thirty times the noise
    power, which is the minimum over the last 13 frames. Its delay of one hop of 256 is taken off."""
    from pyroomacoustics.denoise import apply_spectral_sub

    hop, outputs = 256, []
    for pair in pairs:
        length = len(pair.noisy)
        output = apply_spectral_sub(_dithered(pair.noisy, hop + -length % hop), nfft=2 * hop)
        outputs.append(output[hop : hop + length].astype(np.float32))
    return outputs


def log_mmse(pairs: list[Pair]) -> list[np.ndarray]:
    """Minimum mean-square error estimate of the log spectral amplitude (Ephraim & Malah, IEEE Trans. ASSP 33(2), 1985)
    by the package `logmmse`: frames of 20 ms, noise learnt from the first 120 ms and wherever no speech is found."""
    with np.errstate():  # importing it changes numpy's error state for the whole process; this puts it back
        from logmmse.logmmse import logmmse  # the algorithm; what the package puts around it drops a frame a minute
    frame, learning, outputs = 320, 6 * 320, []
    for pair in pairs:
        length = len(pair.noisy)
        padding = max(0, learning - length) + 2 * frame  # the package drops the last frame and needs six to start
        with np.errstate(all="ignore"):
            output, _ = logmmse(_dithered(pair.noisy, padding), SAMPLING_RATE)
        outputs.append(output[:length].astype(np.float32))
    return outputs


def rnnoise(pairs: list[Pair]) -> list[np.ndarray]:
    """RNNoise (Valin, MMSP 2018) with the network in the package `pyrnnoise`. Sound is resampled to 48 kHz and back;
    the delay is taken off."""
    import soxr
    from pyrnnoise import RNNoise

    outputs = []
    for pair in pairs:
        audio = soxr.resample(pair.noisy, SAMPLING_RATE, RNNOISE_RATE)
        audio = np.pad(audio, (0, RNNOISE_DELAY + 480 + -len(audio) % 480))
        samples = (audio.clip(-1, 1) * 32767).astype(np.int16)
        frames = [frame[0] for _, frame in RNNoise(RNNOISE_RATE).denoise_chunk(samples, partial=True)]
        output = np.concatenate(frames)[RNNOISE_DELAY:].astype(np.float32) / 32767
        outputs.append(soxr.resample(output, RNNOISE_RATE, SAMPLING_RATE)[: len(pair.noisy)])
    return outputs


def webrtc(pairs: list[Pair]) -> list[np.ndarray]:
    """The noise suppression of WebRTC, which browsers and call software use, from the package `webrtc_noise_gain`, with
    its high-pass filter and without gain control. Its delay is taken off. The phase of that filter costs it SI-SDR."""
    from webrtc_noise_gain import AudioProcessor

    outputs = []
    for pair in pairs:
        padding = WEBRTC_DELAY + -(len(pair.noisy) + WEBRTC_DELAY) % WEBRTC_FRAME
        samples = (np.pad(pair.noisy, (0, padding)).clip(-1, 1) * 32767).astype(np.int16)
        processor = AudioProcessor(0, WEBRTC_LEVEL)
        frames = [processor.Process10ms(frame.tobytes()).audio for frame in samples.reshape(-1, WEBRTC_FRAME)]
        output = np.frombuffer(b"".join(frames), np.int16)[WEBRTC_DELAY:]
        outputs.append(output[: len(pair.noisy)].astype(np.float32) / 32767)
    return outputs


def wpe(pairs: list[Pair]) -> list[np.ndarray]:
    """Weighted prediction error (Nakatani et al., IEEE Trans. ASLP 18(7), 2010) by the package `nara_wpe`. It takes
    away late reverberation and no noise. Windows of 32 ms begin every 8 ms; taps, delay and iterations are its
    defaults."""
    from nara_wpe.utils import istft, stft
    from nara_wpe.wpe import wpe as predict_and_subtract

    outputs = []
    for pair in pairs:
        spectrum = stft(_dithered(pair.noisy), WPE_WINDOW, WPE_HOP)  # (frames, bins)
        dry = predict_and_subtract(spectrum.T[:, None])[:, 0].T
        outputs.append(istft(dry, WPE_WINDOW, WPE_HOP)[: len(pair.noisy)].astype(np.float32))
    return outputs


def true_mel(pairs: list[Pair]) -> list[np.ndarray]:
    """The ceiling of the method: the reconstruction with the true clean mel in place of a generated one."""
    import torch

    from speech_enhance.mel.gain import spectral_gain
    from speech_enhance.mel.spectrogram import MelConfig, istft, mel_spectrogram, stft

    config, outputs = MelConfig(), []
    for pair in pairs:
        noisy, clean = (stft(torch.from_numpy(audio)[None], config) for audio in (pair.noisy, pair.clean))
        gain = spectral_gain(mel_spectrogram(clean.abs(), config), mel_spectrogram(noisy.abs(), config), config)
        outputs.append(istft(noisy * gain, len(pair.noisy), config)[0].numpy())
    return outputs


def diffusion(
    model: str, scheduler: str, precision: str = "float32", **settings: Any
) -> Callable[..., list[np.ndarray]]:
    """A system of ours: a checkpoint with a scheduler and settings of the call, seed 0, no mix, no limit. Its network
    computes in float32, bfloat16 or int8. It takes further settings as keywords.

    Raises:
        UserError: if the checkpoint or the machine cannot compute in this precision.
    """
    from speech_enhance import SpeechEnhancementPipeline, make_scheduler
    from speech_enhance.jobs.file import use_precision

    pipeline = SpeechEnhancementPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    use_precision(pipeline, precision)
    pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler.config)
    return lambda pairs, **more: pipeline([pair.noisy for pair in pairs], SAMPLING_RATE, **settings, **more).audios


class LiveSystem:
    """A checkpoint that enhances live sound in blocks of 16 ms, with seed 0. Its own figure of the delay is taken off,
    and no other alignment is made.

    Args:
        model: Pipeline folder or Hub id.
        num_inference_steps: Number of steps of the sampling.
        backend: `"onnx"` has ONNX Runtime run the network where it can, as the command does; `"torch"` never.
        scheduler: Name of a scheduler, or `None` for the checkpoint's own.
    """

    def __init__(self, model: str, num_inference_steps: int = 1, backend: str = "onnx", scheduler: str | None = None):
        from speech_enhance import SpeechEnhancementPipeline, make_scheduler
        from speech_enhance.live.backend import prefer_onnx

        self._pipeline = SpeechEnhancementPipeline.from_pretrained(model)
        if scheduler:
            self._pipeline.scheduler = make_scheduler(scheduler, self._pipeline.scheduler.config)
        if backend == "onnx":
            prefer_onnx(self._pipeline)
        self._num_inference_steps = num_inference_steps
        latency = self._pipeline.live(SAMPLING_RATE).latency
        self.latency_ms = round(1000 * (latency + LIVE_BLOCK) / SAMPLING_RATE, 1)
        """Latency in milliseconds, with one block, which must arrive first."""

    def __call__(self, pairs: list[Pair], **settings: Any) -> list[np.ndarray]:
        steps = self._num_inference_steps
        return [enhance_live(self._pipeline, pair.noisy, num_inference_steps=steps, **settings) for pair in pairs]


def enhance_live(
    pipeline: "SpeechEnhancementPipeline",
    noisy: np.ndarray,
    latency: "str | LiveTiming | None" = None,
    **settings: Any,
) -> np.ndarray:
    """A recording `(samples,)` at 16 kHz through [`~SpeechEnhancementPipeline.live`] in blocks of 16 ms, the delay
    taken off."""
    enhancer = pipeline.live(SAMPLING_RATE, latency, **settings)
    blocks = [enhancer.process(block) for block in np.split(noisy, range(LIVE_BLOCK, len(noisy), LIVE_BLOCK))]
    return np.concatenate([*blocks, enhancer.flush()])[enhancer.latency :]


def add_arguments(parser: argparse.ArgumentParser, limit: int | None = None) -> None:
    """Options of a script that measures what a checkpoint makes of pairs with any scheduler; see [`load_measured`]."""
    from speech_enhance import SCHEDULERS

    validation.add_arguments(parser, limit)
    parser.add_argument("--scheduler", choices=SCHEDULERS, default="ddim", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=1, help="inference steps (default: %(default)s)")
    parser.add_argument("--live", action="store_true", help="as live sound in blocks of 16 ms")


def load_measured(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> tuple[list[Pair], Callable[..., list[np.ndarray]], str]:
    """The pairs and the system (see [`diffusion`] and [`LiveSystem`]) that [`add_arguments`]' options name, and a title
    of both; what cannot be loaded ends the script."""
    steps = options.steps
    try:
        pairs = validation.load_pairs(options.pairs, options.limit)
        if options.live:
            system = LiveSystem(options.model, steps, scheduler=options.scheduler)
        else:
            system = diffusion(options.model, options.scheduler, num_inference_steps=steps, num_estimates=1)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    way = ", live" if options.live else ""
    return pairs, system, f"{options.pairs} ({len(pairs)} files), {options.scheduler}, {counted(steps, 'step')}{way}"


def vocoded(model: str, vocoder: str, from_true_mel: bool = False) -> System:
    """A checkpoint at its default settings, with sound that a vocoder makes from the mel. `from_true_mel` puts the true
    clean mel in place of the generated one, which gives the ceiling of this system."""
    import torch
    from transformers import SpeechT5HifiGan

    from speech_enhance import SpeechEnhancementPipeline
    from speech_enhance.mel.spectrogram import analyse
    from speech_enhance.pipelines.mel_port import RecordingVocoder

    pipeline = SpeechEnhancementPipeline.from_pretrained(
        model, vocoder=SpeechT5HifiGan.from_pretrained(vocoder, use_safetensors=True, dtype=torch.float32).eval()
    )
    pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def of_true_mel(pair: Pair) -> np.ndarray:
        scale, _, mel = analyse(torch.from_numpy(pair.clean)[None], pipeline.mel_config)
        make_sound = RecordingVocoder(pipeline.mel_port, pipeline.vocoder, SAMPLING_RATE, len(pair.clean))
        return make_sound(mel, scale[None])[0]

    if from_true_mel:
        return lambda pairs: [of_true_mel(pair) for pair in pairs]
    return lambda pairs: pipeline([pair.noisy for pair in pairs], SAMPLING_RATE, use_vocoder=True).audios


def stored(folder: str) -> System:
    """The stored output of any other system: one audio file for each pair, named by the pair's id, in any format that
    libsndfile reads. Other sampling rates are resampled, and channels are mixed down.

    Raises:
        FileNotFoundError: from `stored` if there is no such folder; from the system if a pair has no file.
        ValueError: from the system if a pair has several files, or one that is not as long as the noisy recording.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    return lambda pairs: [_read_stored(Path(folder), pair) for pair in pairs]


def make_system(name: str, num_threads: int = 1) -> System:
    """Load a system that needs no checkpoint, apart from running it.

    Args:
        name: One of [`SYSTEMS`].
        num_threads: Threads of `dtln` and `nsnet2`, which run in ONNX Runtime. The others have no such setting and run
            on one thread.

    Returns:
        The system. If it has a method `prepare`, that loads what the next recording needs; call it before timing one.

    Raises:
        ImportError: if its package is missing or does not run on this platform; the message names the `pip` command.
    """
    if name in PACKAGES:
        with np.errstate():  # importing logmmse changes numpy's error state for the whole process; this puts it back
            import_package(*PACKAGES[name])
    return MAKERS[name](num_threads)


def _run(name: str, pairs: list[Pair]) -> list[np.ndarray]:
    return make_system(name)(pairs)


PACKAGES = {
    "spectral_gating": ("noisereduce", "noisereduce"),
    "spectral_subtraction": ("pyroomacoustics", "pyroomacoustics"),
    "log_mmse": ("logmmse", "logmmse"),
    "rnnoise": ("pyrnnoise", "pyrnnoise"),
    "webrtc": ("webrtc_noise_gain", "webrtc-noise-gain"),
    "wpe": ("nara_wpe", "nara-wpe"),
}
"""Module and name on PyPI of the packages that the functions above import."""
MAKERS: dict[str, Callable[[int], System]] = {
    "untouched": lambda num_threads: untouched,
    "spectral_gating": lambda num_threads: spectral_gating,
    "spectral_subtraction": lambda num_threads: spectral_subtraction,
    "log_mmse": lambda num_threads: log_mmse,
    "rnnoise": lambda num_threads: rnnoise,
    "webrtc": lambda num_threads: webrtc,
    "nsnet2": NsNet2,
    "dtln": Dtln,
    "deepfilternet3": lambda num_threads: DeepFilterNet3(),
    "wpe": lambda num_threads: wpe,
    "true_mel": lambda num_threads: true_mel,
}
SYSTEMS: dict[str, System] = {name: partial(_run, name) for name in MAKERS}
"""The systems that need no checkpoint, by name; each call loads the system. See [`make_system`]."""
DEFAULT_SYSTEMS = tuple(name for name in SYSTEMS if name not in ("spectral_subtraction", "wpe"))
"""Systems that a report shows unless others are named. `wpe` is for rooms."""
LATENCY_MS: dict[str, float] = {
    "untouched": 0,
    "spectral_subtraction": 32,
    "log_mmse": 20,
    "rnnoise": 30,
    "webrtc": 16,
    "nsnet2": 20,
    "dtln": 32,
    "deepfilternet3": 40,
}
"""Latency as designed, in ms: how late the output is plus one frame, which must arrive first; computing takes more.

Spectral subtraction: windows of 512 samples. Log-MMSE: windows of 20 ms, half overlapped. RNNoise: 20 ms late in frames
of 10 ms, measured. WebRTC: 6 ms late in frames of 10 ms, measured. NSNet2: windows of 20 ms. DTLN: windows of 32 ms
(its paper, section 2.3). DeepFilterNet3: windows of 20 ms and 20 ms of look-ahead (its paper, arXiv:2305.08227).
noisereduce and WPE learn from the whole recording and are not here, nor is the true mel.
"""


def _dithered(audio: np.ndarray, padding: int = 0) -> np.ndarray:
    """`audio` and `padding` more samples, in float64, with noise at -140 dB, since a system may divide by silence."""
    padded = np.pad(audio.astype(np.float64), (0, padding))
    return padded + 1e-7 * np.random.default_rng(0).standard_normal(len(padded))


def _read_stored(folder: Path, pair: Pair) -> np.ndarray:
    import soxr

    from speech_enhance.audio.files import read_audio

    files = [file for file in folder.iterdir() if file.stem == pair.id and file.suffix.lower() in audio_extensions()]
    if not files:
        raise FileNotFoundError(f"{folder / pair.id}.*: no audio file for pair {pair.id!r}")
    if len(files) > 1:
        raise ValueError(f"{folder}: several files for pair {pair.id!r}: {', '.join(sorted(f.name for f in files))}")
    file = read_audio(files[0])
    audio = soxr.resample(file.audio.mean(axis=0), file.sampling_rate, SAMPLING_RATE)
    expected, tolerance = len(pair.noisy), int(file.sampling_rate != SAMPLING_RATE)
    if abs(file.audio.shape[1] - round(expected * file.sampling_rate / SAMPLING_RATE)) > tolerance:
        raise ValueError(
            f"{files[0]}: {file.audio.shape[1]} samples at {file.sampling_rate} Hz, but the noisy recording has "
            f"{expected} at {SAMPLING_RATE} Hz; outputs must be as long as their inputs"
        )
    return np.pad(audio, (0, max(0, expected - len(audio))))[:expected]
