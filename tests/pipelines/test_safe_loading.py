"""Folders from elsewhere: nothing of them is run or unpickled, whatever they offer."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import noise
from hub_client import client, tiny_model
from mel_stages import make_stage, make_vocoder
from safetensors.torch import load_file, save_file

from speech_enhance import DEFAULT_CHECKPOINT, ConditionalUNet2DModel, SpeechEnhancementPipeline, cli
from speech_enhance.pipelines.safe_loading import check_folder

INDEX, NETWORK, SCHEDULER = "model_index.json", "unet/config.json", "scheduler/scheduler_config.json"


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("safe") / "model")


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "model")


def change(folder: Path, name: str, **entries) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | entries))


@pytest.mark.parametrize(
    ("name", "entries", "message"),
    [
        (INDEX, {"unet": ["os", "system"]}, r"unet must not be \['os', 'system'\]"),
        (INDEX, {"unet": ["speech_enhance", "SpeechEnhancementPipeline"]}, "unet must not be"),
        (INDEX, {"unet": ["evil", "ConditionalUNet2DModel"]}, "unet must not be"),
        (INDEX, {"scheduler": ["evil", "DDIMScheduler"]}, "scheduler must not be"),
        (INDEX, {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}, "scheduler must not be"),
        (INDEX, {"vocoder": ["evil", "Vocoder"]}, "vocoder must not be"),
        (INDEX, {"vocoder": ["transformers", "AutoModel"]}, "vocoder must not be"),
        (INDEX, {"safety_checker": ["evil", "Checker"]}, "unknown entry 'safety_checker'"),
        (INDEX, {"_class_name": ["evil", "SpeechEnhancementPipeline"]}, r"is of a \['evil'"),
        (INDEX, {"_class_name": "StableDiffusionPipeline"}, "is of a 'StableDiffusionPipeline'"),
        (INDEX, {"_ignore_files": ["x"]}, "unknown entry '_ignore_files'"),
        (INDEX, {"level": ["evil", "Level"]}, "`level` must be a number, got a list"),
        (INDEX, {"n_fft": 10**12}, "`n_fft` must be from 2 to"),
        (NETWORK, {"_class_name": "UNet2DModel"}, "is of a 'UNet2DModel'"),
        (NETWORK, {"quantization_config": {"quant_method": "bitsandbytes"}}, "must not have quantization_config"),
        (NETWORK, {"auto_map": {"AutoModel": "evil.Model"}}, "must not have auto_map"),
        (NETWORK, {"_int8_ranges": [1, 2]}, "`_int8_ranges` must hold four finite numbers for each convolution"),
        (NETWORK, {"_int8_ranges": {"conv_in": [0, 1, 0]}}, "`_int8_ranges` must hold four finite numbers"),
        (NETWORK, {"_int8_ranges": {"conv_in": [0, float("inf"), 0, 1]}}, "`_int8_ranges` must hold four finite"),
        (NETWORK, {"_int8_ranges": {"conv_in": [1, 0, 0, 1]}}, "`_int8_ranges` must hold four finite numbers"),
        (NETWORK, {"block_out_channels": [10**9, 10**9]}, "`block_out_channels` must be from 1 to 8192"),
        (NETWORK, {"block_out_channels": [8] * 1000}, "`block_out_channels` must have at most 8 entries"),
        (SCHEDULER, {"_class_name": "PNDMScheduler"}, "is of a 'PNDMScheduler'"),
        (SCHEDULER, {"num_train_timesteps": 10**12}, "`num_train_timesteps` must be from 1 to"),
    ],
)
def test_hostile_settings_are_refused_before_anything_is_loaded(folder, monkeypatch, name, entries, message):
    for place in (folder, folder / "unet", folder / "scheduler", folder.parent):
        (place / "evil.py").write_text(f"open({str(folder.parent / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(folder.parent)
    monkeypatch.syspath_prepend(str(folder.parent))  # as for a script in the working directory
    change(folder, name, **entries)
    with pytest.raises(ValueError, match=message):
        SpeechEnhancementPipeline.from_pretrained(folder)
    assert not (folder.parent / "ran").exists()


@pytest.mark.parametrize("name", [INDEX, NETWORK, SCHEDULER])
@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff\xfe", '["a list"]'])
def test_broken_settings_are_named(folder, name, text):
    (folder / name).write_text(text, encoding="latin-1")
    with pytest.raises((OSError, ValueError), match=f"{Path(name).name} (is damaged|holds no settings)"):
        SpeechEnhancementPipeline.from_pretrained(folder)


def test_no_pickle_is_loaded_even_if_it_is_all_there_is(folder):
    for suffix in ("bin", "pt", "ckpt", "fp16.bin"):
        with open(folder / "unet" / f"diffusion_pytorch_model.{suffix}", "wb") as file:
            pickle.dump(Payload(folder.parent / "ran"), file)
    SpeechEnhancementPipeline.from_pretrained(folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(folder / "unet" / "diffusion_pytorch_model.bin", weights)
    with pytest.raises(OSError, match="is damaged"):
        SpeechEnhancementPipeline.from_pretrained(folder)
    weights.unlink()
    with pytest.raises(OSError, match="never from a pickle"):
        SpeechEnhancementPipeline.from_pretrained(folder)
    with pytest.raises(OSError, match=r"diffusion_pytorch_model\.fp16\.safetensors"):
        SpeechEnhancementPipeline.from_pretrained(folder, variant="fp16")
    assert not (folder.parent / "ran").exists()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"architectures": ["UnivNetModel"]}, r"is of \['UnivNetModel'\], not of a SpeechT5HifiGan"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "must not have quantization_config"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "must not have auto_map"),
        ({"upsample_initial_channel": 10**9}, "`upsample_initial_channel` must be from 1 to 8192"),
        ({"upsample_rates": [4] * 1000}, "`upsample_rates` must have at most 8 entries"),
        ({"resblock_dilation_sizes": [[10**9]]}, "`resblock_dilation_sizes` must be from 1 to 64"),
    ],
)
def test_a_hostile_vocoder_is_refused_before_it_is_loaded(tmp_path, entries, message):
    folder = tmp_path / "model"
    make_stage(make_vocoder(), ConditionalUNet2DModel).save_pretrained(folder)
    check_folder(SpeechEnhancementPipeline, folder)
    change(folder, "vocoder/config.json", **entries)
    with pytest.raises(ValueError, match=message):
        SpeechEnhancementPipeline.from_pretrained(folder)


def test_no_pickle_is_loaded_as_a_vocoder(tmp_path):
    folder = tmp_path / "model"
    make_stage(make_vocoder(), ConditionalUNet2DModel).save_pretrained(folder)
    (folder / "vocoder" / "model.safetensors").unlink()
    with open(folder / "vocoder" / "pytorch_model.bin", "wb") as file:
        pickle.dump(Payload(tmp_path / "ran"), file)
    with pytest.raises(OSError, match=r"has no vocoder/model\.safetensors.*never from a pickle"):
        SpeechEnhancementPipeline.from_pretrained(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "conv_in.bias holds NaN or infinite weights"),
        ("inf", "conv_in.bias holds NaN or infinite weights"),
        ("shape", r"conv_in.bias should be of shape \[8\] by config.json, the weights have \[3, 3\]"),
        ("missing", r"conv_in.bias should be of shape \[8\] by config.json, the weights have None"),
        ("extra", r"evil should be of shape None by config.json, the weights have \[2\]"),
        ("network", "conv_in.weight should be of shape"),
        ("impossible", "describes no network"),
    ],
)
def test_weights_that_are_not_those_of_the_network_are_refused(folder, capsys, kind, message):
    """Diffusers would draw missing ones at random, and NaN would come out at the other end."""
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    if kind in ("nan", "inf"):
        weights["conv_in.bias"][0] = float(kind)
    elif kind == "shape":
        weights["conv_in.bias"] = torch.zeros(3, 3)
    elif kind == "missing":
        del weights["conv_in.bias"]
    elif kind == "extra":
        weights["evil"] = torch.zeros(2)
    else:
        change(folder, NETWORK, **({"in_channels": 64} if kind == "network" else {"down_block_types": ["EvilBlock"]}))
    save_file(weights, path)
    with pytest.raises(ValueError, match=message):
        SpeechEnhancementPipeline.from_pretrained(folder)
    soundfile.write(folder.parent / "in.wav", noise(800), 16000)
    capsys.readouterr()
    assert cli.main([str(folder.parent / "in.wav"), str(folder.parent / "out.wav"), "--model", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"speech-enhance: error: cannot load the model {folder}: ")


@pytest.mark.parametrize("name", [INDEX, NETWORK, SCHEDULER, "unet/diffusion_pytorch_model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(OSError, match=f"has no {name}"):
        SpeechEnhancementPipeline.from_pretrained(folder)


def test_code_beside_the_weights_is_not_run(folder):
    (folder / "unet" / "speech_enhance.py").write_text(f"open({str(folder.parent / 'ran')!r}, 'w')\n")
    (folder / "pipeline.py").write_text(f"open({str(folder.parent / 'ran')!r}, 'w')\n")
    with pytest.raises(ValueError, match="holds code beside its weights"):
        SpeechEnhancementPipeline.from_pretrained(folder)
    (folder / "unet" / "speech_enhance.py").unlink()
    SpeechEnhancementPipeline.from_pretrained(folder)
    assert not (folder.parent / "ran").exists()


@pytest.mark.slow
def test_honest_folders_pass(good, tmp_path):
    from diffusers import DPMSolverMultistepScheduler

    check_folder(SpeechEnhancementPipeline, good)
    check_folder(SpeechEnhancementPipeline, DEFAULT_CHECKPOINT)
    pipeline = SpeechEnhancementPipeline.from_pretrained(good)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(tmp_path / "swapped")
    assert (
        type(SpeechEnhancementPipeline.from_pretrained(tmp_path / "swapped").scheduler) is DPMSolverMultistepScheduler
    )
    (tmp_path / "swapped" / "unet" / "config.json").unlink()
    SpeechEnhancementPipeline.from_pretrained(tmp_path / "swapped", unet=pipeline.unet)


@pytest.mark.slow
def test_a_hostile_repository_runs_nothing(hub, good, published_digest, tmp_path):
    """Code and pickles beside good weights stay on the Hub; an index that names them is refused."""
    offer = shutil.copytree(good, tmp_path / "offer")
    ran = tmp_path / "ran"
    for name in ("pipeline.py", "unet/speech_enhance.py", "scheduler/evil.py", "evil.py"):
        (offer / name).write_text(f"open({str(ran)!r}, 'w')\n")
    for name in ("unet/diffusion_pytorch_model.bin", "scheduler/scheduler.pkl"):
        (offer / name).write_bytes(pickle.dumps(Payload(ran)))
    hub.put("user/offer", offer)
    change(offer, INDEX, scheduler=["evil", "DDIMScheduler"])
    hub.put("user/hostile", offer)
    (offer / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    shutil.copy(good / INDEX, offer / INDEX)
    hub.put("user/pickles", offer)
    code = """
failures = {name: failure(lambda: load("user/" + name)) for name in ("hostile", "pickles")}
show(digest=digest(load("user/offer")), **failures)
"""
    with hub.recorded() as requests:
        got = client(hub, tmp_path / "home", code)
    assert got["digest"] == published_digest
    assert "scheduler must not be ['evil', 'DDIMScheduler']" in got["hostile"]
    assert "never from a pickle" in got["pickles"]
    assert not ran.exists()
    assert not [path for method, path in requests if path.endswith((".py", ".bin", ".pkl"))]
