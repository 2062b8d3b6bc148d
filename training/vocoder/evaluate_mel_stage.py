"""What the mel stage does to mels that are degraded as by acoustic models, on speech that it never saw.

    python -m training.vocoder.evaluate_mel_stage --output training/results/mel-stage \\
        --picture training/results/mel-stage.png

Every kind of degradation is done to the true mel of clean recordings. Two measures are compared with those of the
untouched mel: the error of the mel, and, through the vocoder of the pipeline, the log-spectral distance from the sound
that the same vocoder makes of the true mel. Writes OUTPUT.json (every file) and OUTPUT.md (tables).
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch

from speech_enhance import MEL_STAGE_CHECKPOINT, SpeechEnhancementPipeline, make_scheduler
from speech_enhance.mel.layouts import MEL_LAYOUTS, convert_mel
from speech_enhance.mel.spectrogram import mel_spectrogram, stft
from speech_enhance.mel.vocoding import vocode
from speech_enhance.pipelines.windows import seeded_generator
from training.evaluation.bootstrap import bootstrap_gain, bootstrap_mean
from training.evaluation.measures import Measure
from training.evaluation.reports import table, write_report
from training.mixtures.degradation import DegradationConfig, degrade
from training.validation import load_pairs

SPEECHT5 = MEL_LAYOUTS["speecht5"]
AUDIBLE_DB = 60
"""Bins further below the loudest of a recording do not count in the error of its mel."""
_SHARES: dict[str, Any] = {field.name: 0.0 for field in fields(DegradationConfig) if field.name.endswith("_share")}
NONE = DegradationConfig(**_SHARES)
KINDS = {
    "smeared": replace(NONE, smooth_share=1.0),
    "shrunk": replace(NONE, shrink_share=1.0),
    "cepstrum cut off": replace(NONE, cepstrum_share=1.0),
    "quantised": replace(NONE, quantise_share=1.0),
    "holes": replace(NONE, hole_share=1.0),
    "wobble": replace(NONE, wobble_share=1.0),
    "voices behind": NONE,
    "as in training": replace(DegradationConfig(), untouched_share=0.0),
    "untouched": NONE,
}
BABBLE_DB, BABBLE_TALKERS = 25.0, 5
SETTINGS = {
    "1 step": ("ddim", 1, 1),
    "mean of 4 × 1 step": ("ddim", 1, 4),
    "4 steps": ("ddim", 4, 1),
}
MEASURES = {
    "mel_error": Measure("mel error", 2, "dB", smaller_is_better=True),
    "lsd": Measure("LSD after the vocoder", 2, "dB", smaller_is_better=True),
    "variance": Measure("variance", 2),
}


def true_mel(audio: np.ndarray) -> torch.Tensor:
    """SpeechT5's mel `(num_mel_bins, frames)` of a recording `(samples,)`."""
    return mel_spectrogram(stft(torch.from_numpy(audio)[None], SPEECHT5).abs(), SPEECHT5)[0]


def degraded_mel(kind: str, audio: np.ndarray, others: list[np.ndarray], seed: int, pipeline) -> torch.Tensor:
    """SpeechT5's mel of a recording, degraded. For `"voices behind"`, the recording has `others` in the background."""
    if kind == "voices behind":
        babble = np.mean([np.resize(other / np.sqrt(np.mean(other**2)), len(audio)) for other in others], axis=0)
        babble *= np.sqrt(np.mean(audio**2) / np.mean(babble**2)) * 10 ** (-BABBLE_DB / 20)
        return true_mel((audio + babble).astype(np.float32))
    inner = pipeline.mel_config  # the logarithm with a floor and silence at 0
    mel = convert_mel(true_mel(audio), SPEECHT5, inner)
    mel = degrade(mel, KINDS[kind], inner.mel_scale / 20, seeded_generator(seed))
    return convert_mel(mel, inner, SPEECHT5)


def mel_error(mel: torch.Tensor, truth: torch.Tensor) -> float:
    """Root mean square in dB over the bins of the true mel that are at most `AUDIBLE_DB` below its loudest."""
    audible = truth > truth.max() - AUDIBLE_DB / 20
    return float(20 * (mel - truth)[audible].square().mean().sqrt())


def variance_ratio(mel: torch.Tensor, truth: torch.Tensor) -> float:
    """Variance over time, mean over bands, as a share of the truth's. Smearing lowers it and sampling restores it."""
    return float(mel.var(dim=-1).mean() / truth.var(dim=-1).mean())


def log_spectral_distance(sound: torch.Tensor, reference: torch.Tensor) -> float:
    """Mean over frames (Hann 512, hop 128) of the root mean square difference in dB of two sounds `(samples,)`. Bins
    more than 60 dB below the loudest of the reference count as if they lay 60 dB below it."""
    window = torch.hann_window(512)
    power, wanted = (
        torch.stft(item, 512, 128, window=window, return_complex=True).abs().square() for item in (sound, reference)
    )
    floor = wanted.max() * 10 ** (-AUDIBLE_DB / 10)
    difference = 10 * ((power.clamp(min=floor)).log10() - wanted.clamp(min=floor).log10())
    return float(difference.square().mean(dim=0).sqrt().mean())


def enhancers(pipeline: SpeechEnhancementPipeline) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """What is done to a mel `(num_mel_bins, frames)`, by name; the first is nothing."""

    def enhance(scheduler: str, num_inference_steps: int, num_estimates: int):
        def run(mel: torch.Tensor) -> torch.Tensor:
            pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler.config)
            settings: dict[str, Any] = {"num_inference_steps": num_inference_steps, "num_estimates": num_estimates}
            mels = pipeline(mel=mel.T, output_type="mel", **settings).mels
            assert isinstance(mels, torch.Tensor)  # of one mel, one
            return mels.T

        return run

    return {"nothing": lambda mel: mel} | {name: enhance(*settings) for name, settings in SETTINGS.items()}


def measure(mel: torch.Tensor, truth: torch.Tensor, reference: torch.Tensor, vocoder) -> dict[str, float]:
    """All of [`MEASURES`] of one mel."""
    with torch.no_grad():
        distance = log_spectral_distance(vocode(vocoder, mel), reference)
    return {"mel_error": mel_error(mel, truth), "lsd": distance, "variance": variance_ratio(mel, truth)}


def evaluate(
    pipeline: SpeechEnhancementPipeline, recordings: list, kinds: list[str]
) -> dict[str, dict[str, list[dict]]]:
    """Rows of measures by kind of degradation and by what was done."""
    results = {kind: {name: [] for name in enhancers(pipeline)} for kind in kinds}
    for index, recording in enumerate(recordings):
        others = [recordings[(index + 1 + i) % len(recordings)].clean for i in range(BABBLE_TALKERS)]
        truth = true_mel(recording.clean)
        with torch.no_grad():
            reference = vocode(pipeline.vocoder, truth)
        for kind in kinds:
            degraded = degraded_mel(kind, recording.clean, others, index, pipeline)
            for name, enhance in enhancers(pipeline).items():
                row = {"id": recording.id} | measure(enhance(degraded), truth, reference, pipeline.vocoder)
                results[kind][name].append(row)
        print(f"… {index + 1} of {len(recordings)}", file=sys.stderr)
    return results


def markdown(results: dict[str, dict[str, list[dict]]], number: int, speech: str) -> str:
    """One table for each measure: kinds × what was done, gains over nothing that are sure in bold."""
    lines = [
        f"# Degraded mels of {number} recordings of {speech}",
        "",
        "Means over recordings. **Bold**: less error than with nothing done, the 95 % interval of the paired "
        "difference below 0. "
        f"Mel error: root mean square over bins up to {AUDIBLE_DB} dB below the loudest. LSD: from what the same "
        "vocoder makes of "
        "the true mel. Variance: over time, as a share of the true mel's.",
    ]
    for measure_name, measure in MEASURES.items():
        names = list(next(iter(results.values())))
        body = []
        for kind, by_name in results.items():
            cells, nothing = [kind], [row[measure_name] for row in by_name["nothing"]]
            for name, rows in by_name.items():
                values = [row[measure_name] for row in rows]
                better = measure.smaller_is_better and name != "nothing" and bootstrap_gain(values, nothing).high < 0
                mark = "**" if better else ""
                cells.append(f"{mark}{bootstrap_mean(values).mean:{measure.form}}{mark}")
            body.append(cells)
        lines += ["", f"## {measure.heading}", "", *table(["degradation", *names], body)]
    return "\n".join(lines) + "\n"


def draw(pipeline: SpeechEnhancementPipeline, recording, kinds: list[str], seconds: float = 2.5):
    """A figure of true, degraded and enhanced mels, a row for each kind."""
    from matplotlib.figure import Figure

    truth = true_mel(recording.clean)
    settings = {
        name: enhance for name, enhance in enhancers(pipeline).items() if name in ("nothing", "1 step", "4 steps")
    }
    figure = Figure(figsize=(12, 2.1 * len(kinds)), layout="constrained")
    axes = figure.subplots(len(kinds), len(settings) + 1, sharex=True, sharey=True, squeeze=False)
    frames = round(seconds * SPEECHT5.sampling_rate / SPEECHT5.hop_length)
    for row, kind in zip(axes, kinds, strict=True):
        degraded = degraded_mel(kind, recording.clean, [recording.clean[::-1]], 3, pipeline)
        mels = {"true": truth} | {name: enhance(degraded) for name, enhance in settings.items()}
        for axis, (name, mel) in zip(row, mels.items(), strict=True):
            top = float(truth.max())
            axis.imshow(
                mel[:, :frames], origin="lower", aspect="auto", vmin=top - 3.2, vmax=top, extent=(0, seconds, 0, 80)
            )
            axis.set_title(f"{kind}: before" if name == "nothing" else name, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    for axis in axes[:, 0]:
        axis.set_ylabel("mel band")
    return figure


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--speech", default="data/speech-valid-*.parquet", help="dataset of clean speech with a column audio"
    )
    parser.add_argument(
        "--limit", type=int, default=20, help="only this many recordings, evenly spread (default: %(default)s)"
    )
    parser.add_argument("--model", default=str(MEL_STAGE_CHECKPOINT), help="pipeline folder with a vocoder")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--output", help="path of the report without extension")
    parser.add_argument("--picture", metavar="FILE", help="draw the mels of one recording there")
    options = parser.parse_args(arguments)
    try:
        recordings = load_pairs(options.speech, options.limit, columns=("audio",))
        pipeline = SpeechEnhancementPipeline.from_pretrained(options.model)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if pipeline.config.mel_layout != "speecht5" or pipeline.vocoder is None:
        parser.error(f"{options.model}: needs mel_layout 'speecht5' and a vocoder")
    pipeline.set_progress_bar_config(disable=True)
    results = evaluate(pipeline, recordings, options.kinds)
    write_report(options.output, results, markdown(results, len(recordings), options.speech))
    if options.picture:
        kinds = [kind for kind in options.kinds if kind in ("smeared", "holes", "voices behind", "as in training")]
        draw(pipeline, recordings[0], kinds).savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
