"""The weighted mean of checkpoints that were trained one from the other.

    python -m training.average OUTPUT --of FOLDER=WEIGHT FOLDER=WEIGHT... [--dial-gain FACTOR]

Such a mean keeps what a later checkpoint has learnt, and much of what it has unlearnt since the earlier one (Wortsman
et al., "Robust fine-tuning of zero-shot models", arXiv:2109.01903). Settings and noise schedule are those of the first
folder. Another folder may lack input channels of its network: there they count as 0. A mean with such a folder weakens
the dial for reverberation, since it weakens the dial's channel; `--dial-gain` multiplies that channel's weights.
"""

import argparse
from pathlib import Path

import torch

from speech_enhance import SpeechEnhancementPipeline

from .run_folder import RunError
from .weights import condition_channels, export_pipeline, start_from


def average(sources: list[tuple[str, float]], dial_gain: float = 1.0) -> SpeechEnhancementPipeline:
    """The pipeline of the first folder, its weights replaced by the mean.

    Args:
        sources: Pipeline folders with their weights, whose sum is taken as 1.
        dial_gain: Factor on what the network sees of the dial for reverberation.

    Raises:
        ValueError: if the networks do not fit, if a weight is not above 0, or if a gain is given for a network without
            the dial.
    """
    if not all(weight > 0 for _, weight in sources):
        raise ValueError(f"weights must be above 0, got {', '.join(f'{weight:g}' for _, weight in sources)}")
    pipeline = SpeechEnhancementPipeline.from_pretrained(sources[0][0])
    channels, total = condition_channels(pipeline.config), sum(weight for _, weight in sources)
    mean = {name: torch.zeros_like(value) for name, value in pipeline.unet.state_dict().items()}
    for folder, weight in sources:
        unet = type(pipeline.unet).from_config(pipeline.unet.config)
        start_from(unet, folder, channels)
        for name, value in unet.state_dict().items():
            mean[name] += weight / total * value
    if dial_gain != 1:
        if "with_dereverb" not in channels:
            raise ValueError(f"--dial-gain {dial_gain:g}: {sources[0][0]} has no dial for reverberation")
        width = pipeline.unet.config.out_channels
        first = channels.index("with_dereverb") * width
        mean["conv_in.weight"][:, first : first + width] *= dial_gain
    pipeline.unet.load_state_dict(mean)
    return pipeline


def weighted(text: str) -> tuple[str, float]:
    folder, _, weight = text.rpartition("=")
    try:
        return folder, float(weight)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected FOLDER=WEIGHT, got {text!r}") from None


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="pipeline folder to write")
    parser.add_argument("--of", type=weighted, nargs="+", required=True, metavar="FOLDER=WEIGHT")
    parser.add_argument("--dial-gain", type=float, default=1.0, metavar="FACTOR", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        export_pipeline(average(options.of, options.dial_gain), options.output)
    except (OSError, ValueError, RunError) as error:
        parser.error(str(error))
    print(f"{options.output}: mean of {len(options.of)} checkpoints")


if __name__ == "__main__":
    main()
