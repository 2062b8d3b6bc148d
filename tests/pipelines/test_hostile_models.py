"""Model folders that ask for too much, or for other files: each is refused in one line, soon and in little memory."""

import json
import os
import resource
import shutil
import struct
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import make_tiny_pipeline, noise
from fuzz_models import fuzz
from mel_stages import make_stage, make_vocoder
from safetensors.torch import load_file, save_file

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline, cli, make_scheduler
from speech_enhance.models.trained_settings import RECORD
from speech_enhance.pipelines.safe_loading import check_folder

INDEX, NETWORK, SCHEDULER = "model_index.json", "unet/config.json", "scheduler/scheduler_config.json"
VOCODER, WEIGHTS = "vocoder/config.json", "unet/diffusion_pytorch_model.safetensors"
NAN, INF = float("nan"), float("inf")
LEVELS = {"down_block_types": ["DownBlock2D"] * 8, "up_block_types": ["UpBlock2D"] * 8}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A folder with a vocoder and a scheduler whose order is a setting."""
    folder = tmp_path_factory.mktemp("hostile") / "model"
    pipeline = make_stage(make_vocoder(), ConditionalUNet2DModel)
    pipeline.scheduler = make_scheduler("unipc", pipeline.scheduler.config)
    pipeline.save_pretrained(folder)
    config = json.loads((folder / NETWORK).read_text())
    del config[RECORD]  # a stranger's index need not contradict it
    (folder / NETWORK).write_text(json.dumps(config))
    check_folder(SpeechEnhancementPipeline, folder)
    return folder


@pytest.fixture
def folder(good, tmp_path) -> Path:
    return shutil.copytree(good, tmp_path / "model")


def change(folder: Path, name: str, **entries) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | entries))


def refuse(folder: Path, capsys, message: str) -> None:
    """The command refuses the folder in one line with `message`, in at most two seconds and 300 MB."""
    soundfile.write(folder.parent / "in.wav", noise(8000), 16000)
    capsys.readouterr()
    seconds, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = cli.main([str(folder.parent / "in.wav"), str(folder.parent / "out.wav"), "--model", str(folder)])
    seconds, grown = time.process_time() - seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert message in line
    assert seconds < 2
    assert grown < 300 * (1024 if sys.platform == "linux" else 2**20)
    assert not (folder.parent / "out.wav").exists()


@pytest.mark.parametrize(
    ("name", "entries", "message"),
    [
        (SCHEDULER, {"solver_order": 10**9}, "`solver_order` must be from 1 to 8, got 1000000000"),
        (SCHEDULER, {"trained_betas": [0.5] * 10**6}, "scheduler_config.json must be a regular file of at most"),
        (
            SCHEDULER,
            {"trained_betas": []},
            "`trained_betas` must be 1000 numbers, as `num_train_timesteps` says, got 0",
        ),
        (SCHEDULER, {"trained_betas": [NAN] * 1000}, "`trained_betas` must be from 0 to 1, got nan"),
        (SCHEDULER, {"sample_max_value": NAN}, "`sample_max_value` must be from -10000.0 to 10000.0, got nan"),
        (SCHEDULER, {"__class__": None}, "'__class__' is no name of a setting"),
        (NETWORK, {"get": 1}, "'get' is no name of a setting"),
        (SCHEDULER, {"prediction_type": "noise"}, "cannot make 1 steps"),
        (INDEX, {"num_views": 10**9}, "`num_views` must be from 1 to 64, got 1000000000"),
        (INDEX, {"num_views": 10**4000}, "`num_views` must be from 1 to 64, got a number of many digits"),
        (INDEX, {"n_fft": 2**20, "win_length": 2**20, "num_mel_bins": 4096}, "`n_fft` must be from 2 to 32768"),
        (INDEX, {"n_fft": 2**15, "num_mel_bins": 1024}, "`n_fft` × `num_mel_bins` × `num_views` must be at most"),
        (INDEX, {"n_fft": 2**14, "hop_length": 1}, "`n_fft` / `hop_length` must be at most 32"),
        (INDEX, {"window_frames": 2**20}, "`window_frames` must be from 1 to 16384"),
        (INDEX, {"window_frames": 2**12, "n_fft": 2**13}, "`noise_floor_block`) × `n_fft` must be at most"),
        (INDEX, {"window_frames": 64.0}, "`window_frames` must be a whole number, got 64.0"),
        (INDEX, {"noise_floor_block": 0}, "`noise_floor_block` must be from 8 to"),
        (INDEX, {"gain_exponent": NAN}, "`gain_exponent` must be from 0.01 to 100, got nan"),
        (INDEX, {"gain_exponent": INF}, "`gain_exponent` must be from 0.01 to 100, got inf"),
        (
            INDEX,
            {"initial_noise_scale": 0.0},
            "`initial_noise_scale` is no longer a setting and must be 1.0 or left out, got 0.0",
        ),
        (INDEX, {"initial_noise_scale": 10**4000}, "`initial_noise_scale` is no longer a setting"),
        (INDEX, {"target": "clean"}, '`target` must be "gain" or "residual"'),
        (NETWORK, {"patch_bands": 2}, "`patch_bands` is no longer a setting and must be None or left out, got 2"),
        (NETWORK, {RECORD: {"initial_noise_scale": 0.0}}, "`initial_noise_scale` is no longer a setting"),
        (INDEX, {"level": -INF}, "`level` must be from 1e-06 to 100, got -inf"),
        (INDEX, {"_diffusers_version": "0\n"}, "_diffusers_version must be a version"),
        (INDEX, {"num_mel_bins": 640}, "mel bands without a frequency bin"),
        (NETWORK, {"block_out_channels": [8] * 16, "layers_per_block": 64}, "must have at most 8 entries, got 16"),
        (NETWORK, LEVELS | {"block_out_channels": [8] * 8, "layers_per_block": 9}, "must be at most 64 layers, got 72"),
        (NETWORK, {"dropout": NAN}, "`dropout` must be from 0 to 1, got nan"),
        (NETWORK, {"norm_eps": INF}, "`norm_eps` must be from 0 to 1, got inf"),
        (NETWORK, {"class_embed_type": "identity"}, "describes a network that cannot run (ValueError: class_labels"),
        (NETWORK, {RECORD: {"num_views": 10**9}}, "`num_views` must be from 1 to 64"),
        (NETWORK, {RECORD: {"level": 0.5}}, "unet/config.json: the network was trained with level=0.5"),
        (NETWORK, {RECORD: {"evil": 1}}, "must be settings of a pipeline"),
        (VOCODER, {"_attn_implementation": "evil/kernel"}, "unknown entry '_attn_implementation'"),
        (VOCODER, {"transformers_weights": "weights.bin"}, "unknown entry 'transformers_weights'"),
        (VOCODER, {"dtype": "load"}, "`dtype` must be float16, bfloat16 or float32"),
        (VOCODER, {"upsample_rates": [64] * 4}, "samples per frame"),
        (VOCODER, {"upsample_rates": []}, "must have as many entries, got 0 and 4"),
        (VOCODER, {"resblock_dilation_sizes": [[], [], []]}, "must not have empty lists"),
        (VOCODER, {"leaky_relu_slope": NAN}, "`leaky_relu_slope` must be from 0 to 1, got nan"),
    ],
)
def test_settings_that_ask_for_too_much_are_refused_in_one_line(folder, capsys, name, entries, message):
    change(folder, name, **entries)
    refuse(folder, capsys, message)


@pytest.mark.parametrize("kind", ["attention", "window"])
def test_products_of_settings_within_their_ranges_are_bounded(tmp_path, capsys, kind):
    """Weights are those of the settings, few and honest; what a window needs is not."""
    settings = {"window_frames": 4096, "overlap_frames": 0, "num_mel_bins": 128}
    unet = ConditionalUNet2DModel(
        in_channels=4,
        out_channels=1,
        block_out_channels=(8,) if kind == "attention" else (256,),
        down_block_types=("AttnDownBlock2D" if kind == "attention" else "DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        norm_num_groups=4,
        add_attention=False,
    )
    pipeline = SpeechEnhancementPipeline(unet, make_tiny_pipeline().scheduler, **settings)
    pipeline.save_pretrained(tmp_path / "model")
    refuse(tmp_path / "model", capsys, "a window would need a tensor of shape")


def save_index(folder: Path, name: str) -> None:
    """An index of weights, all in a pickle."""
    weights = load_file(folder / WEIGHTS)
    torch.save(weights, folder / "unet" / "weights.bin")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "weights.bin")}
    (folder / name).write_text(json.dumps(index))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.safetensors.index.json",
        "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
        "vocoder/model.safetensors.index.json",
    ],
)
def test_an_index_of_other_files_is_refused(folder, capsys, name, keep):
    """Diffusers prefers it to the weights beside it, and loads what it names with `torch.load`."""
    save_index(folder, name)
    if not keep:
        (folder / (WEIGHTS if name.startswith("unet") else "vocoder/model.safetensors")).unlink()
    for variant in (None, "fp16"):
        with pytest.raises(ValueError, match=f"{Path(name).name} names other files"):
            SpeechEnhancementPipeline.from_pretrained(folder, variant=variant)
    refuse(folder, capsys, "names other files or models; all weights must be in one safetensors file")


@pytest.mark.slow
def test_weights_of_a_variant_are_checked_too(folder):
    variant = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    weights = load_file(folder / WEIGHTS)
    save_file({name: tensor.half() for name, tensor in weights.items()}, variant)
    SpeechEnhancementPipeline.from_pretrained(folder, variant="fp16")
    save_file({name: torch.full_like(tensor, NAN).half() for name, tensor in weights.items()}, variant)
    SpeechEnhancementPipeline.from_pretrained(folder)
    with pytest.raises(ValueError, match="holds NaN or infinite weights"):
        SpeechEnhancementPipeline.from_pretrained(folder, variant="fp16")
    weights.pop("conv_in.bias")
    save_file(weights, variant)
    with pytest.raises(ValueError, match=r"conv_in.bias should be of shape \[8\]"):
        SpeechEnhancementPipeline.from_pretrained(folder, variant="fp16")


@pytest.mark.slow
def test_weights_that_are_no_file_of_a_model_are_refused(folder, capsys):
    path = folder / WEIGHTS
    weights = {name: tensor.clone() for name, tensor in load_file(path).items()}  # not mapped from the file
    empty = {f"empty{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(200_000)}
    header = json.dumps(empty).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refuse(folder, capsys, "is damaged or no file of a model: its header would have")
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    refuse(folder, capsys, "its header would have")
    save_file(weights | {"conv_in.bias": torch.zeros(8, dtype=torch.int32)}, path)
    refuse(folder, capsys, "conv_in.bias is of type I32, not floating point")
    names = sorted(weights)
    save_file({name: weights[name] for name in names[::2]}, path)
    save_file({name: weights[name] for name in names[1::2]}, path.with_name("other.safetensors"))
    refuse(folder, capsys, "the weights have None; these files do not belong together")


def test_weights_that_overflow_write_nothing(tmp_path, capsys):
    make_tiny_pipeline().save_pretrained(tmp_path / "model")
    weights = {name: tensor.clone() for name, tensor in load_file(tmp_path / "model" / WEIGHTS).items()}
    save_file({name: torch.full_like(tensor, 3e38) for name, tensor in weights.items()}, tmp_path / "model" / WEIGHTS)
    refuse(tmp_path / "model", capsys, "the model gives NaN or infinite values")


def test_another_models_adapter_is_not_fetched(folder, capsys):
    (folder / "vocoder" / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/model"}')
    refuse(folder, capsys, "adapter_config.json names other files or models")


@pytest.mark.skipif(sys.platform == "win32", reason="has no FIFOs")
@pytest.mark.parametrize("name", [INDEX, NETWORK, SCHEDULER, VOCODER, WEIGHTS, "vocoder/model.safetensors"])
def test_only_regular_files_are_opened(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ValueError, match="regular file"):
        SpeechEnhancementPipeline.from_pretrained(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="regular file"):
        SpeechEnhancementPipeline.from_pretrained(folder)


@pytest.mark.slow
def test_fuzzed_folders_are_refused_in_one_line_or_work():
    found = []
    counts = fuzz(0, 1500, build=40, say=found.append)
    assert not found
    assert counts["refused"] > 1000
    assert counts["worked"] > 0
