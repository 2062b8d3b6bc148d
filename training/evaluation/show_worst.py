"""The recordings a checkpoint serves worst: figures, and pictures of noisy, enhanced, clean and both gains side by
side.

    python -m training.evaluation.show_worst --report training/results/pairs-valid.json --output runs/worst

Takes the scores from a report of `evaluate.py`. For the files with the smallest gain over the untouched recording in
each measure, it draws OUTPUT/MEASURE-RANK-ID.png and writes OUTPUT/worst.md.
"""

import argparse
import json
from pathlib import Path

from training.evaluation.measures import BASIC_MEASURES
from training.evaluation.reports import table, write_report
from training.validation import load_pairs


def worst_files(report: dict, system: str, measure: str, number: int) -> list[dict]:
    """The `number` files with the smallest gain of `system` over the untouched recording: `id`, `noisy`, `enhanced`."""
    noisy, enhanced = ({row["id"]: row for row in report[name]["files"]} for name in ("untouched", system))
    rows = [{"id": name, "noisy": noisy[name][measure], "enhanced": row[measure]} for name, row in enhanced.items()]
    rows = [row for row in rows if isinstance(row["noisy"], float) and isinstance(row["enhanced"], float)]
    return sorted(rows, key=lambda row: row["enhanced"] - row["noisy"])[:number]


def main(arguments: list[str] | None = None) -> None:
    from speech_enhance import DEFAULT_CHECKPOINT, SpeechEnhancementPipeline
    from speech_enhance.pictures.plotting import draw_comparison

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", required=True, help="JSON file of evaluate.py")
    parser.add_argument("--system", default="ours, balanced", help="as it is called there (default: %(default)s)")
    parser.add_argument("--pairs", default="data/pairs-valid-*.parquet", help="the pairs of that report")
    parser.add_argument("--number", type=int, default=10, help="files for each measure (default: %(default)s)")
    parser.add_argument("--model", default=str(DEFAULT_CHECKPOINT), help="pipeline folder or Hub id")
    parser.add_argument("--output", required=True, help="folder for the pictures")
    options = parser.parse_args(arguments)
    try:
        report = json.loads(Path(options.report).read_text(encoding="utf-8"))
        if options.system not in report:
            raise ValueError(f"{options.report}: no system {options.system!r}; there are {', '.join(report)}")
        worst = {measure: worst_files(report, options.system, measure, options.number) for measure in BASIC_MEASURES}
        pairs = {pair.id: pair for pair in load_pairs(options.pairs)}
        pipeline = SpeechEnhancementPipeline.from_pretrained(options.model)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    pipeline.set_progress_bar_config(disable=True)
    rate, folder = pipeline.config.sampling_rate, Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    cells = []
    for measure, rows in worst.items():
        for rank, row in enumerate(rows, 1):
            pair = pairs[row["id"]]
            results = {"enhanced": pipeline(pair.noisy, rate).audios, "clean": pair.clean}
            figure = draw_comparison(pair.noisy, results, rate, columns=3, width=18)
            figure.savefig(folder / f"{measure}-{rank:02d}-{pair.id}.png", dpi=80)
            about = ", ".join(f"{name} {value}" for name, value in pair.info.items() if not isinstance(value, dict))
            cells.append([measure, pair.id, f"{row['noisy']:.2f}", f"{row['enhanced']:.2f}", about])
    lines = ["# Worst files", "", *table(["measure", "file", "untouched", "enhanced", "about it"], cells)]
    write_report(str(folder / "worst"), worst, "\n".join(lines))


if __name__ == "__main__":
    main()
