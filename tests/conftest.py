"""Small real things that tests share: a tiny network, a tiny pipeline, sound."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline
from speech_enhance.mel.targets import MelTarget
from speech_enhance.models.schedulers import training_scheduler

ROOT = Path(__file__).resolve().parents[1]
TINY_UNET = {
    "in_channels": 128,
    "out_channels": 32,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}
TINY_LAYOUT = {"window_frames": 64, "overlap_frames": 16, "num_views": 2, "frequency_warp": 1.2}


def pytest_configure():
    """With `-n`, one thread in each of the processes, and in those that tests start."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)


class OracleUNet(ConditionalUNet2DModel):
    """A perfect network for recordings whose true clean mel is `share` × the noisy one, at any noise level.

    Schedulers that interpolate between timesteps pass fractional ones; the noise level is then interpolated as theirs.
    """

    share = 1.0
    target = MelTarget()

    def forward(self, sample, timestep, condition, return_dict=True):
        noisy_mel = condition[:, :1]
        clean_sample = self.target.encode(self.share * noisy_mel, noisy_mel)
        alphas_cumprod = training_scheduler().alphas_cumprod
        log_sigmas = ((1 - alphas_cumprod) / alphas_cumprod).log() / 2
        position = torch.as_tensor(timestep, dtype=torch.float64)
        below = position.floor().long().clamp(max=998)
        log_sigma = torch.lerp(log_sigmas[below].double(), log_sigmas[below + 1].double(), position - below)
        alpha, sigma = 1 / (1 + (2 * log_sigma).exp()).sqrt(), 1 / (1 + (-2 * log_sigma).exp()).sqrt()
        noise = (sample.double() - alpha * clean_sample) / sigma
        return ((alpha * noise - sigma * clean_sample).to(sample.dtype),)


def make_tiny_pipeline(seed: int = 0) -> SpeechEnhancementPipeline:
    """A pipeline around [`make_tiny_unet`]."""
    return SpeechEnhancementPipeline(make_tiny_unet(seed), training_scheduler(), **TINY_LAYOUT)


def make_tiny_unet(seed: int = 0) -> ConditionalUNet2DModel:
    """A network of a few thousand random weights that was in no pipeline yet."""
    torch.manual_seed(seed)
    return ConditionalUNet2DModel(**TINY_UNET).eval()


@pytest.fixture
def tiny_unet() -> ConditionalUNet2DModel:
    return make_tiny_unet()


@pytest.fixture
def tiny_pipeline() -> SpeechEnhancementPipeline:
    return quiet(make_tiny_pipeline())


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A folder with a tiny pipeline."""
    folder = tmp_path_factory.mktemp("model")
    make_tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def dial_model(tmp_path_factory) -> Path:
    """A folder with a tiny pipeline that has a dial for reverberation."""
    folder = tmp_path_factory.mktemp("dial")
    torch.manual_seed(0)
    unet = ConditionalUNet2DModel(**TINY_UNET | {"in_channels": 160}).eval()
    SpeechEnhancementPipeline(unet, training_scheduler(), **TINY_LAYOUT, with_dereverb=True).save_pretrained(folder)
    return folder


@pytest.fixture
def oracle_pipeline() -> SpeechEnhancementPipeline:
    """A pipeline around [`OracleUNet`]; with its `share` of 1 it must give every recording back."""
    unet = OracleUNet(**TINY_UNET)
    return quiet(SpeechEnhancementPipeline(unet, training_scheduler(), **TINY_LAYOUT))


@pytest.fixture(scope="session")
def sample_pair() -> tuple[np.ndarray, np.ndarray]:
    """The sample recordings `(noisy, clean)` at 16 kHz."""
    return tuple(soundfile.read(ROOT / "samples" / f"{name}.wav", dtype="float32")[0] for name in ("noisy", "clean"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder of speech with metadata, a Parquet file of noise, and Parquet pairs."""
    from datasets import Dataset

    folder = tmp_path_factory.mktemp("corpus")
    (folder / "speech").mkdir()
    envelope = np.abs(np.sin(np.arange(24000) * 2 * np.pi / 8000))
    for index in range(4):
        soundfile.write(folder / "speech" / f"{index}.wav", envelope * noise(24000, seed=index), 16000)
    rows = "".join(json.dumps({"file_name": f"{i}.wav", "corpus": "ab"[i % 2], "score": i}) + "\n" for i in range(4))
    (folder / "speech" / "metadata.jsonl").write_text(rows)
    sounds = [{"bytes": flac(noise(4000 + 9000 * i, seed=9 + i)), "path": f"{i}.flac"} for i in range(2)]
    Dataset.from_dict({"audio": sounds, "duration": [0.25, 0.8]}).to_parquet(folder / "noise-0.parquet")
    clean = envelope[:16000] * noise(16000)
    pair = {
        "id": ["p"],
        "clean": [{"bytes": flac(clean), "path": "c"}],
        "noisy": [{"bytes": flac(clean + 0.5 * noise(16000, seed=3)), "path": "n"}],
    }
    Dataset.from_dict(pair).to_parquet(folder / "pairs.parquet")
    return folder


@pytest.fixture(scope="session")
def hub():
    """A Hub on loopback."""
    from loopback_hub import LoopbackHub

    hub = LoopbackHub()
    yield hub
    hub.close()


@pytest.fixture(scope="session")
def published(hub, tmp_path_factory):
    """A tiny model, published on it as `user/tiny` by the script: `(folder, about, results)`."""
    from hub_client import command, tiny_model, tiny_reports

    folder = tmp_path_factory.mktemp("published")
    model = tiny_model(folder / "model")
    about, results = tiny_reports(folder, model)
    run = command(
        hub, folder / "home", "model_cards/publish.py", model, "user/tiny", "--about", about, "--results", results
    )
    assert run.returncode == 0, run.stderr
    return model, about, results


@pytest.fixture(scope="session")
def published_digest(published) -> str:
    """What `digest` of a client process gives for that model, loaded from its folder."""
    from hub_client import PREAMBLE

    names = {}
    exec(PREAMBLE, names)
    return names["digest"](SpeechEnhancementPipeline.from_pretrained(published[0]))


@pytest.fixture(scope="session")
def bare(tmp_path_factory) -> Path:
    """Every installed package but ours, for a process that has not installed it."""
    from hub_client import packages_without_ours

    return packages_without_ours(tmp_path_factory.mktemp("bare") / "packages")


def quiet(pipeline: SpeechEnhancementPipeline) -> SpeechEnhancementPipeline:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def noise(num_samples: int, channels: int | None = None, seed: int = 0) -> np.ndarray:
    shape = (num_samples,) if channels is None else (channels, num_samples)
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def flac(audio: np.ndarray, sampling_rate: int = 16000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, sampling_rate, format="FLAC")
    return file.getvalue()


def source(path, **options):
    """A `SourceMix` of one source at 16 kHz."""
    from training.mixtures.sources import SourceConfig, SourceMix

    return SourceMix([SourceConfig(str(path), **options)], 16000)


def power(audio: np.ndarray) -> np.ndarray:
    """Mean power of every frame of 320 samples."""
    return np.square(audio[: len(audio) // 320 * 320].reshape(-1, 320)).mean(axis=1)


def spectrum_share(audio: np.ndarray, low: float, high: float) -> float:
    """Share of the energy between two frequencies, at 16 kHz."""
    energy = np.abs(np.fft.rfft(audio)) ** 2
    frequency = np.fft.rfftfreq(len(audio), 1 / 16000)
    return energy[(frequency >= low) & (frequency < high)].sum() / energy.sum()
