"""Records in a checkpoint the ranges that `--precision int8` needs, from mixtures of training speech.

    python -m training.int8_ranges FOLDER --config training/configs/base.yaml

The network enhances the first mixtures of the config's seed, in one step and in four. What its convolutions see and
give is measured, and goes into `FOLDER/unet/config.json`. Weights stay as they are. A checkpoint that is trained
further needs new ranges.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import torch

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline
from speech_enhance.models.int8 import INT8_RANGES, recording_int8_ranges
from speech_enhance.pending_files import PendingFile

from .config import TrainingConfig, load_config
from .mixtures.examples import TrainingExamples

STEPS = (1, 4)


def record_ranges(pipeline: SpeechEnhancementPipeline, config: TrainingConfig, number: int) -> None:
    """Record the ranges in the configuration of the pipeline's network.

    Args:
        pipeline: Pipeline of a [`ConditionalUNet2DModel`].
        config: Config whose mixtures the network enhances.
        number: Number of mixtures.

    Raises:
        ValueError: for a pipeline of another network.
    """
    if not isinstance(pipeline.unet, ConditionalUNet2DModel):
        raise ValueError(f"only a ConditionalUNet2DModel has int8, this is a {type(pipeline.unet).__name__}")
    settings, rate = pipeline.config, pipeline.mel_config.sampling_rate
    config = dataclasses.replace(config, paired_share=0.0, preload=False)
    examples = TrainingExamples(config, pipeline.mel_config, settings.window_frames, 1000, number)
    with recording_int8_ranges(pipeline.unet):
        for index in range(number):
            example = examples[index]
            dial = float(example["dereverb"]) if settings.with_dereverb else 0.0
            for steps in STEPS:
                generator = torch.Generator().manual_seed(index)
                pipeline(example["noisy"], rate, steps, num_estimates=2, dereverb=dial, generator=generator)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="pipeline folder")
    parser.add_argument("--config", required=True, help="training config with the mixtures, such as the model's own")
    parser.add_argument("--number", type=int, default=24, help="number of mixtures (default: %(default)s)")
    options = parser.parse_args(arguments)
    path = Path(options.model) / "unet" / "config.json"
    try:
        if options.number < 1:
            raise ValueError(f"--number must be at least 1, got {options.number}")
        if not path.is_file():
            raise ValueError(f"{options.model}: is no pipeline folder (it has no unet/config.json)")
        pipeline = SpeechEnhancementPipeline.from_pretrained(options.model)
        pipeline.set_progress_bar_config(disable=True)
        record_ranges(pipeline, load_config(options.config), options.number)
        found = pipeline.unet.config[INT8_RANGES]
        ranges = {name: [float(f"{value:.6g}") for value in values] for name, values in found.items()}
        content = json.loads(path.read_text()) | {INT8_RANGES: ranges}
        with PendingFile(path) as pending, open(pending.descriptor, "w", encoding="utf-8", closefd=False) as file:
            file.write(json.dumps(content, indent=2, sort_keys=True) + "\n")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{path}: ranges of {len(ranges)} convolutions, from {options.number} mixtures")


if __name__ == "__main__":
    main()
