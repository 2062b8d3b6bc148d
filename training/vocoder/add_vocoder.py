"""Put a vocoder into a pipeline folder, all in half precision.

    python -m training.vocoder.add_vocoder runs/mel-stage/pipeline runs/vocoder/vocoder \\
        --output speech_enhance/checkpoints/mel_stage
"""

import argparse
from pathlib import Path

from training.weights import export_pipeline


def main(arguments: list[str] | None = None) -> None:
    from transformers import SpeechT5HifiGan

    from speech_enhance import SpeechEnhancementPipeline

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", help="pipeline folder")
    parser.add_argument("vocoder", help="folder of a vocoder of its mel, as train_vocoder.py writes it")
    parser.add_argument("--output", required=True, help="folder to write; its pipeline is replaced")
    options = parser.parse_args(arguments)
    try:
        vocoder = SpeechT5HifiGan.from_pretrained(options.vocoder, use_safetensors=True)
        pipeline = SpeechEnhancementPipeline.from_pretrained(options.pipeline, vocoder=vocoder)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    export_pipeline(pipeline, Path(options.output))


if __name__ == "__main__":
    main()
