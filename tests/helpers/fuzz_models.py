"""Model folders with something wrong in one of their JSON files, by the thousand: each is refused in one line, or
works.

    python -m tests.fuzz_models --seeds 0 100000

Every seed is a folder of its own, so a run can be stopped and resumed by range. The folder check, which builds nothing,
sees every seed; of the folders it accepts every `--build`-th gets weights that fit, is loaded and enhances a short
recording.
"""

import argparse
import contextlib
import copy
import json
import random
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from diffusers.utils import logging
from safetensors.torch import save_file

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline, make_scheduler
from speech_enhance.models.schedulers import SCHEDULERS, training_scheduler
from speech_enhance.pipelines.model_trials import empty_network, empty_vocoder
from speech_enhance.pipelines.safe_loading import read_components

FILES = {
    "index": "model_index.json",
    "unet": "unet/config.json",
    "scheduler": "scheduler/scheduler_config.json",
    "vocoder": "vocoder/config.json",
}
WHOLE = [
    0,
    -1,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    12,
    16,
    20,
    32,
    64,
    100,
    128,
    1000,
    4096,
    2**15,
    2**20,
    10**9,
    2**31,
    2**63,
    -(2**63),
    10**30,
]
BROKEN = [
    0.0,
    -0.0,
    1e-300,
    1e-8,
    0.1,
    0.5,
    1.0,
    1.5,
    8.0,
    64.0,
    1e4,
    1e38,
    1e308,
    float("inf"),
    -float("inf"),
    float("nan"),
]
WORDS = [
    "",
    "a/b",
    "../x",
    "evil",
    "\n",
    "é",
    "\0",
    "x" * 10000,
    "none",
    "auto",
    "linear",
    "learned",
    "fourier",
    "timestep",
    "resnet",
    "gelu",
    "v_prediction",
    "sample",
    "epsilon",
    "leading",
    "linspace",
    "trailing",
    "zero",
    "sigma_min",
    "bh1",
    "bh2",
    "heun",
    "midpoint",
    "dpmsolver",
    "sde-dpmsolver++",
    "log10",
    "slaney",
    "gain",
    "clean",
    "residual",
    "speecht5",
    "AttnDownBlock2D",
    "KDownBlock2D",
    "SkipUpBlock2D",
    "scale_shift",
    "spatial",
    "float16",
    "torch.load",
]
NAMES = [
    "quantization_config",
    "auto_map",
    "_attn_implementation",
    "transformers_weights",
    "_pipeline_settings",
    "solver_order",
    "steps_offset",
    "use_karras_sigmas",
    "use_beta_sigmas",
    "sigma_min",
    "thresholding",
    "algorithm_type",
    "final_sigmas_type",
    "variance_type",
    "disable_corrector",
    "solver_p",
    "tau_func",
    "original_inference_steps",
    "class_embed_type",
    "num_class_embeds",
    "mid_block_type",
    "mel_layout",
    "patch_bands",
    "sample_size",
    "frequency_warp",
    "num_views",
    "unknown",
    "_use_default_values",
    "__class__",
    "get",
    "items",
    "_internal_dict",
    "",
]
MOST_SECONDS, MOST_MEGABYTES, MOST_WEIGHTS = 30, 1500, 5_000_000


def good_models(folder: Path) -> list[dict[str, dict]]:
    """Save a tiny pipeline with a vocoder; its settings by component, with each of the schedulers."""
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    unet = ConditionalUNet2DModel(
        in_channels=128,
        out_channels=32,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
    )
    vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(upsample_initial_channel=16))
    SpeechEnhancementPipeline(
        unet,
        training_scheduler(num_train_timesteps=20),
        vocoder,
        n_fft=1024,
        win_length=1024,
        hop_length=256,
        min_frequency=80.0,
        max_frequency=7600.0,
        window_frames=64,
        overlap_frames=16,
        noise_floor_span=64,
        noise_floor_block=16,
        compression="log10",
        mel_layout="speecht5",
    ).save_pretrained(folder)
    good = {name: json.loads((folder / file).read_text()) for name, file in FILES.items()}
    models = []
    for kind, scheduler in SCHEDULERS.items():
        index = good["index"] | {"scheduler": ["diffusers", scheduler]}
        config = json.loads(make_scheduler(kind, good["scheduler"]).to_json_string())
        models.append(good | {"index": index, "scheduler": config})
    return models


def places(value, above=()) -> list[tuple]:
    """Paths to everything in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(place for key, item in items for place in places(item, (*above, key)))]


def hostile_value(draw: random.Random, old):
    """A value in the place of `old`: near it, or of any kind."""
    near = []
    if isinstance(old, (int, float)):
        near = [old + 1, old - 1, 2 * old, -old, float(old), old / 2, old // 2]
    elif isinstance(old, str):
        near = [old + "x", old[:-1], old.upper()]
    elif isinstance(old, list):
        near = [old + old, old[:-1], old[::-1], [old], old[:1] * draw.choice([0, 1, 2, 8, 9, 1000, 20000])]
    elif isinstance(old, dict):
        near = [{}, [old], {key: draw.choice(WHOLE) for key in old}]
    others = [
        draw.choice(WHOLE),
        draw.choice(BROKEN),
        draw.choice(WORDS),
        True,
        False,
        None,
        [],
        {},
        [[]],
        {"a": {}},
        [draw.choice(WHOLE)],
        [draw.choice(WORDS)] * 2,
        [None],
    ]
    return draw.choice(near if near and draw.random() < 0.5 else others)


def change(draw: random.Random, content: dict, place: tuple) -> dict:
    """`content` with another value at `place`, or with an entry taken away or added there."""
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    if not place or (isinstance(holder, dict) and draw.random() < 0.1):
        name = draw.choice(NAMES)
        holder[name] = hostile_value(draw, holder.get(name))
    elif draw.random() < 0.1:
        del holder[place[-1]]
    else:
        holder[place[-1]] = hostile_value(draw, holder[place[-1]])
    return content


def targets(model: dict[str, dict]) -> list[tuple[str, tuple]]:
    """Every place of every file, of the many numbers alike in the noise schedule one."""
    every = [(name, place) for name in FILES for place in places(model[name])]
    return [item for item in every if "trained_betas" not in item[1][:-1] or item[1][-1] == 7]


def broken_model(seed: int, models: list[dict[str, dict]], every: list[list]) -> dict[str, str]:
    """The JSON files of a seed, as text. Seeds in a row go through all schedulers, and with each through every place.

    Args:
        seed: The number of the folder.
        models: Good ones.
        every: The [`targets`] of each.
    """
    draw = random.Random(seed)
    model, places = models[seed % len(models)], every[seed % len(models)]
    chosen = [places[seed // len(models) % len(places)]]
    if draw.random() < 0.3:
        chosen.append(draw.choice(places))
    model = model | {name: copy.deepcopy(model[name]) for name in {name for name, _ in chosen}}
    for name, place in chosen:
        with contextlib.suppress(KeyError, IndexError, TypeError):  # the first may have taken the second's place
            change(draw, model[name], place)
    texts = {name: json.dumps(content) for name, content in model.items()}
    if draw.random() < 0.02:
        name = draw.choice(sorted(texts))
        cut = draw.randrange(len(texts[name]))
        texts[name] = texts[name][:cut] + draw.choice(["", "\0", "[" * 5000, texts[name][cut + 1 :]])
    return texts


def check_message(error: Exception, folder: Path) -> None:
    """One line of reasonable length that names the folder."""
    text = str(error)
    if str(folder) not in text or len(text.splitlines()) != 1 or len(text) > 1500:
        raise AssertionError(f"no good message: {type(error).__name__}: {text[:2000]}")


def fit_weights(folder: Path, components: dict[str, dict]) -> bool:
    """Write weights that fit the settings; False if there are none or too many."""
    for name, make, file in (
        ("unet", empty_network, "diffusion_pytorch_model"),
        ("vocoder", empty_vocoder, "model"),
    ):
        if name in components:
            try:
                with torch.device("meta"):
                    shapes = {key: item.shape for key, item in make(components[name]).state_dict().items()}
            except Exception:
                continue  # the weights that are there stay, for the check to refuse
            if sum(shape.numel() for shape in shapes.values()) > MOST_WEIGHTS:
                return False
            weights = {key: 0.02 * torch.randn(shape) for key, shape in shapes.items()}
            save_file(weights, folder / name / f"{file}.safetensors", {"format": "pt"})
    return True


def load_and_run(folder: Path) -> str:
    """Load a model that the first check accepts, and enhance a short recording; what became of it."""
    started = time.process_time()
    audio = (0.1 * np.random.default_rng(0).standard_normal(800)).astype(np.float32)
    try:
        pipeline = SpeechEnhancementPipeline.from_pretrained(folder)
    except (ValueError, OSError) as error:
        check_message(error, folder)
        return "refused when built"
    pipeline.set_progress_bar_config(disable=True)
    outcome = "worked"
    try:
        for settings in ({}, {"num_inference_steps": 3, "num_estimates": 2}):
            assert np.isfinite(pipeline(audio, 16000, **settings).audios).all()
        if pipeline.vocoder is not None:
            pipeline(audio, 16000, use_vocoder=True)
    except ValueError as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError(f"no good message: {error}") from error
        outcome = "refused by the call"
    seconds = time.process_time() - started
    if seconds > MOST_SECONDS:
        raise AssertionError(f"it took {seconds:.0f} s")
    return outcome


def fuzz(first: int, last: int, build: int = 100, say=print) -> Counter:
    """Try the seeds from `first` up to `last`.

    Returns:
        How many ended in which way; `"failed"` are findings, which are also told.
    """
    logging.set_verbosity(60)
    logging.disable_progress_bar()
    counts: Counter = Counter()
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        for category in (FutureWarning, RuntimeWarning, UserWarning):  # libraries warn of odd settings
            warnings.simplefilter("ignore", category)
        place = Path(place)
        models, folder = good_models(place / "good"), place / "model"
        every, written = [targets(model) for model in models], {}
        shutil.copytree(place / "good", folder)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for seed in range(first, last):
            for name, text in broken_model(seed, models, every).items():
                if written.get(name) != text:
                    (folder / FILES[name]).write_text(text, encoding="utf-8")
                    written[name] = text
            try:
                outcome = try_folder(folder, counts, build)
            except Exception as error:
                outcome = "failed"
                say(f"seed {seed}: {type(error).__name__}: {str(error)[:500]}")
            counts[outcome] += 1
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (
            1024 if sys.platform == "linux" else 2**20
        )
        if grown > MOST_MEGABYTES:
            counts["failed"] += 1
            say(f"the process grew by {grown:.0f} MB")
    return counts


def try_folder(folder: Path, counts: Counter, build: int) -> str:
    try:
        components = read_components(SpeechEnhancementPipeline, folder)
    except (ValueError, OSError) as error:
        check_message(error, folder)
        return "refused"
    counts["accepted"] += 1
    if counts["accepted"] % build or not fit_weights(folder, components):
        return "not built"
    return load_and_run(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs=2, metavar=("FIRST", "LAST"), default=(0, 100_000))
    parser.add_argument("--build", type=int, default=100, help="of so many accepted folders one is built and run")
    options = parser.parse_args()
    started = time.process_time()
    counts = fuzz(*options.seeds, options.build)
    print(f"seeds {options.seeds[0]} to {options.seeds[1]}, {time.process_time() - started:.0f} s: {dict(counts)}")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
