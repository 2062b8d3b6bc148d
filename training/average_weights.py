"""One pipeline whose weights are the mean of several's, of runs that began with the same weights.

    python training/average_weights.py runs/few-step/pipeline runs/base-fourth/pipeline --output runs/base-average/pipeline

Costs nothing at inference and is often better than either (Wortsman et al., "Model soups", arXiv:2203.05482). Settings and
scheduler are those of the last one.
"""

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a script: the repository, not this folder with its own `evaluate.py`, is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from speech_enhance import SpeechEnhancementPipeline
from training.weights import export_pipeline


def average(pipelines: list[SpeechEnhancementPipeline]) -> SpeechEnhancementPipeline:
    """The last of `pipelines`, its network's weights replaced by the mean of all.

    Raises:
        ValueError: if the networks differ in more than weights.
    """
    weights = [pipeline.unet.state_dict() for pipeline in pipelines]
    shapes = [{name: value.shape for name, value in item.items()} for item in weights]
    if any(item != shapes[-1] for item in shapes):
        raise ValueError("the networks differ in more than their weights")
    mean = {name: sum(item[name] for item in weights) / len(weights) for name in weights[-1]}
    pipelines[-1].unet.load_state_dict(mean)
    return pipelines[-1]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipelines", nargs="+", metavar="FOLDER", help="pipeline folders")
    parser.add_argument("--output", type=Path, required=True, help="folder of the result; one there before is replaced")
    options = parser.parse_args(arguments)
    try:
        pipeline = average([SpeechEnhancementPipeline.from_pretrained(folder) for folder in options.pipelines])
    except (OSError, ValueError) as error:
        parser.error(str(error))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    export_pipeline(pipeline, pipeline.scheduler, options.output)


if __name__ == "__main__":
    main()
