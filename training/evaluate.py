"""How good a checkpoint is, on noisy/clean pairs, beside untouched noise and spectral gating.

    python training/evaluate.py --pairs 'data/pairs-valid-*.parquet' --output training/results/pairs-valid
    python training/evaluate.py --clean 'data/speech-valid-*.parquet' --output training/results/speech-valid

Writes OUTPUT.json (every file) and OUTPUT.md (means), and prints the latter.
"""

import argparse
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np

if not __package__:  # run as a script: the repository, not this folder with its own `evaluate.py`, is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from speech_enhance.metrics import METRICS, mean_score
from speech_enhance.metrics import score as score_file
from training.reports import write_report
from training.sources import decode, load_audio_dataset
from training.systems import diffusion, spectral_gating, true_mel, untouched
from training.validation import Pair, load_pairs

FRAME = 512
SILENT_DB = 40


def noise_reduction_db(output: np.ndarray, pair: Pair) -> float:
    """How far the level falls in frames without speech: 32 ms frames in which the clean reference lies 40 dB or more
    below its active mean and the noisy input does not vanish; `nan` if a file has less than ten."""

    def power(audio):
        return np.square(audio[: len(audio) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)).mean(axis=1)

    clean, noisy, enhanced = power(pair.clean), power(pair.noisy), power(output)
    active = clean[clean >= clean.mean()].mean() if clean.any() else 0.0
    silent = (clean <= active * 10 ** (-SILENT_DB / 10)) & (noisy > 1e-10)
    if silent.sum() < 10:
        return float("nan")
    return float(10 * np.log10(noisy[silent].sum() / max(enhanced[silent].sum(), 1e-12)))


def score(outputs: list[np.ndarray], pairs: list[Pair]) -> list[dict]:
    """One row of metrics per file."""
    rows = []
    for output, pair in zip(outputs, pairs, strict=True):
        row = {"id": pair.id, "snr_db": pair.info.get("snr_db"), "speaker_id": pair.info.get("speaker_id")}
        row |= score_file(output, pair.clean)
        rows.append(row | {"noise_reduction_db": noise_reduction_db(output, pair)})
    return rows


def summarise(rows: list[dict]) -> dict[str, float]:
    """Means over files, of the noise reduction the median; undefined values do not count."""
    summary = {name: mean_score([row[name] for row in rows]) for name in METRICS}
    reductions = [row["noise_reduction_db"] for row in rows if np.isfinite(row["noise_reduction_db"])]
    return summary | {"noise_reduction_db": float(np.median(reductions)) if reductions else float("nan")}


def markdown(results: dict[str, list[dict]], title: str) -> str:
    """The means of every system, then of the last one by signal-to-noise ratio and by talker."""
    lines = [f"# {title}", "", *_table(results, "system"), ""]
    name, rows = list(results.items())[-1]
    for field in ("snr_db", "speaker_id"):
        groups = defaultdict(list)
        for row in rows:
            groups[row[field]].append(row)
        if 1 < len(groups) <= 10:
            ordered = {str(key): groups[key] for key in sorted(groups)}
            lines += [f"{name} by {field}:", "", *_table(ordered, field), ""]
    return "\n".join(lines)


def _table(groups: dict[str, list[dict]], head: str) -> list[str]:
    lines = [
        f"| {head} | files | PESQ | ESTOI | SI-SDR (dB) | CSIG | CBAK | COVL | less noise in pauses (dB, median) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in groups.items():
        s = summarise(rows)
        lines.append(
            f"| {name} | {len(rows)} | {s['pesq']:.2f} | {s['estoi']:.3f} | {s['si_sdr']:.1f} | {s['csig']:.2f} "
            f"| {s['cbak']:.2f} | {s['covl']:.2f} | {s['noise_reduction_db']:.1f} |"
        )
    return lines


def load_clean(path: str) -> list[Pair]:
    """Clean speech as its own noisy version."""
    dataset = load_audio_dataset(path, "test", ["audio"])
    pairs = []
    for index, row in enumerate(dataset):
        audio = decode(row.pop("audio"), 16000)
        pairs.append(Pair(str(row.get("id", index)), audio, audio, row))
    return pairs


def main(arguments: list[str] | None = None) -> None:
    from speech_enhance import DEFAULT_CHECKPOINT, PRESETS, SCHEDULERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--pairs", help="dataset with columns clean and noisy: Parquet pattern, folder or Hub name")
    data.add_argument("--clean", help="dataset with a column audio of clean speech that must pass")
    parser.add_argument("--split", default="test", help="split of a folder or Hub dataset")
    parser.add_argument("--model", default=str(DEFAULT_CHECKPOINT), help="pipeline folder or Hub id")
    parser.add_argument("--scheduler", choices=SCHEDULERS, default="ddim")
    parser.add_argument("--steps", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--presets", nargs="*", choices=PRESETS, default=["best", "balanced"])
    parser.add_argument("--limit", type=int, help="only this many pairs, evenly spread")
    parser.add_argument("--no-baselines", action="store_true", help="leave out noisereduce and the ceiling")
    parser.add_argument("--output", help="path of the report without extension")
    options = parser.parse_args(arguments)

    pairs = (
        load_clean(options.clean) if options.clean else load_pairs(options.pairs, options.limit, split=options.split)
    )
    systems = {"noisy": untouched}
    if not options.no_baselines and not options.clean:
        systems |= {"true clean mel (ceiling)": true_mel, "noisereduce": spectral_gating}
    for steps in options.steps:
        systems[f"ours, {options.scheduler}, {steps} step(s)"] = diffusion(
            options.model, options.scheduler, num_inference_steps=steps, num_estimates=1
        )
    for name in options.presets:
        preset = asdict(PRESETS[name])
        systems[f"ours, {name}"] = diffusion(options.model, **preset)
    results = {}
    for name, system in systems.items():
        print(f"… {name}", file=sys.stderr)
        results[name] = score(system(pairs), pairs)
    report = markdown(results, f"{options.clean or options.pairs} ({len(pairs)} files)")
    write_report(options.output, results, report)


if __name__ == "__main__":
    main()
