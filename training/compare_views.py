"""What averaging is worth over views of a recording at warped frequencies, and over noise and window places alone.

    python training/compare_views.py --output training/results/views

One step each. Writes OUTPUT.json (every file) and OUTPUT.md (the table).
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np

if not __package__:  # run as a script: the repository, not this folder with its own `evaluate.py`, is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from speech_enhance import SpeechEnhancementPipeline
from training.bootstrap import bootstrap_gain
from training.reports import write_report
from training.validation import add_arguments, load_measured, score_files

FORMS = {"pesq": ("PESQ", ".3f"), "estoi": ("ESTOI", ".4f"), "si_sdr": ("SI-SDR (dB)", ".2f")}


def with_views(pipeline: SpeechEnhancementPipeline, num_views: int, frequency_warp: float) -> SpeechEnhancementPipeline:
    """The pipeline with other views."""
    settings = {name: value for name, value in pipeline.config.items() if not name.startswith("_")}
    settings |= pipeline.components | {"num_views": num_views, "frequency_warp": frequency_warp}
    changed = SpeechEnhancementPipeline(**settings)
    changed.set_progress_bar_config(disable=True)
    return changed


def markdown(rows: list[dict], title: str) -> str:
    """Means, and the gain over the first row, paired by file."""
    lines = [f"# {title}", "", "In brackets the 95 % interval of the gain over the first row, paired by file.", ""]
    lines += [f"| estimates | views | warp | {' | '.join(heading for heading, _ in FORMS.values())} |"]
    lines += ["|---" * (len(FORMS) + 3) + "|"]
    for row in rows:
        cells = [str(row["num_estimates"]), str(row["num_views"])]
        cells.append(f"{row['frequency_warp']:g}" if row["num_views"] > 1 else "–")
        for name, (_, form) in FORMS.items():
            values, first = ([file[name] for file in item["files"]] for item in (row, rows[0]))
            gain = bootstrap_gain(values, first)
            interval = "" if row is rows[0] else f" [{gain.low:+{form}}, {gain.high:+{form}}]"
            cells.append(f"{np.nanmean(values):{form}}{interval}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--estimates", type=int, nargs="+", default=[1, 3, 4, 9], help="(default: %(default)s)")
    parser.add_argument("--views", type=int, nargs="+", default=[1, 2, 3], help="(default: %(default)s)")
    parser.add_argument("--warps", type=float, nargs="+", default=[1.12], help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    pairs, pipeline = load_measured(parser, options)
    rows = []
    for estimates, views, warp in itertools.product(options.estimates, options.views, options.warps):
        if views > estimates or (views == 1 and warp != options.warps[0]):
            continue  # as with fewer views, as with another warp
        changed = with_views(pipeline, views, warp)
        outputs = changed([pair.noisy for pair in pairs], changed.config.sampling_rate, 1, estimates).audios
        row = {"num_estimates": estimates, "num_views": views, "frequency_warp": warp}
        rows.append(row | {"files": score_files(outputs, pairs)})
    write_report(options.output, rows, markdown(rows, f"Averaged estimates, on {options.pairs} ({len(pairs)} files)"))


if __name__ == "__main__":
    main()
