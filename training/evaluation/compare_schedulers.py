"""Compare schedulers: each of the package's at 1 to 30 steps, speed and quality side by side.

    python -m training.evaluation.compare_schedulers --output training/results/schedulers

Writes OUTPUT.json (every file), OUTPUT.md (tables) and OUTPUT.png (the picture), and derives the presets. Run it on an
otherwise idle machine: it measures speed. A stopped run goes on where it was (OUTPUT.partial.jsonl).
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from speech_enhance.metrics.reference import mean_score, pesq, score
from speech_enhance.models.schedulers import PRESETS, SCHEDULERS, Preset, make_scheduler
from speech_enhance.wording import counted
from training.evaluation.bootstrap import bootstrap_gain
from training.evaluation.measures import BASIC_MEASURES
from training.evaluation.reports import append_row, stored_rows, table, write_report
from training.validation import Pair, load_pairs

STEPS = (1, 2, 4, 8, 16, 30)
AVERAGED = tuple(
    Preset("ddim", *setting) for setting in ((1, 2), (1, 3), (1, 4), (1, 6), (1, 9), (1, 12), (1, 16), (2, 2), (4, 4))
)
FIRST = Preset("ddim", 1, 1)
PRESET_EVALUATIONS = {"balanced": 4, "best": 16}


def measure(pipeline, setting: Preset, pairs: list[Pair], dereverb: float = 0.0) -> dict:
    """One row: evaluations of the network per window, real-time factor of the whole pipeline, scores of every file.
    `dereverb` is the pipeline's."""
    rate = pipeline.config.sampling_rate
    pipeline.scheduler = make_scheduler(setting.scheduler, pipeline.scheduler.config)
    arguments = {
        "num_inference_steps": setting.num_inference_steps,
        "num_estimates": setting.num_estimates,
        "dereverb": dereverb,
    }
    num_timesteps = pipeline.prepare_sampling(setting.num_inference_steps).num_timesteps
    started = time.perf_counter()
    outputs = pipeline([pair.noisy for pair in pairs], rate, **arguments).audios
    seconds = time.perf_counter() - started
    return {
        **asdict(setting),
        "evaluations": num_timesteps * setting.num_estimates,
        "real_time_factor": seconds / (sum(len(pair.noisy) for pair in pairs) / rate),
        "files": [
            {"id": pair.id} | score(output, pair.clean, tuple(BASIC_MEASURES))
            for output, pair in zip(outputs, pairs, strict=True)
        ],
    }


def measure_all(pipeline, settings: list[Preset], pairs: list[Pair], partial: Path | None) -> list[dict]:
    """Rows of all settings; those that `partial` holds already are not measured again."""
    rows = stored_rows(partial)
    if any([file["id"] for file in row["files"]] != [pair.id for pair in pairs] for row in rows):
        raise ValueError(f"{partial} holds scores of other files; delete it to begin anew")
    done = {setting_of(row) for row in rows}
    if len(done) < len(settings):
        measure(pipeline, settings[0], pairs[:2])  # warm-up
    for setting in settings:
        if setting in done:
            continue
        row = measure(pipeline, setting, pairs)
        print(f"… {label(row)}: {row['real_time_factor']:.3f} × real time", file=sys.stderr)
        rows.append(row)
        if partial:
            append_row(partial, row)
    return rows


def setting_of(row: dict) -> Preset:
    """The setting that a row was measured at."""
    return Preset(row["scheduler"], row["num_inference_steps"], row["num_estimates"])


def label(row: dict) -> str:
    """The setting of a row in words."""
    estimates = f", {row['num_estimates']} estimates" if row["num_estimates"] > 1 else ""
    return f"{row['scheduler']}, {counted(row['num_inference_steps'], 'step')}{estimates}"


def scores(row: dict, name: str = "pesq") -> list[float]:
    """The scores of a row's files in one measure."""
    return [file[name] for file in row["files"]]


def mean(row: dict, name: str = "pesq") -> float:
    """Mean of a row's files in one measure."""
    return mean_score(scores(row, name))


def derive_presets(rows: list[dict]) -> dict[str, Preset]:
    """The presets that the rows justify.

    `fast` is one step of DDIM: every scheduler's single step is the same estimate. `best` is the setting with the best
    mean PESQ with at most 16 evaluations. With at most 4 evaluations, `balanced` is the cheapest setting over which the
    best one does not gain. Either is `fast` if it does not gain over `fast`. A setting gains if it is better paired by
    file, with the whole 95 % interval above 0.
    """

    def gains(row, over):
        return bootstrap_gain(scores(row), scores(over)).low > 0

    fast = next(row for row in rows if setting_of(row) == FIRST)

    def earned(preset):
        least, most = fast["evaluations"], PRESET_EVALUATIONS[preset]
        return [row for row in rows if least < row["evaluations"] <= most and gains(row, fast)] or [fast]

    affordable = earned("balanced")
    top = max(affordable, key=mean)
    as_good = [row for row in affordable if not gains(top, row)]
    balanced = min(as_good, key=lambda row: (row["evaluations"], -mean(row)))
    best = max(earned("best"), key=mean)
    return {"fast": FIRST, "balanced": setting_of(balanced), "best": setting_of(best)}


def pareto_front(rows: list[dict]) -> list[dict]:
    """The rows that no other row beats in PESQ with as many evaluations or fewer, cheapest first."""
    front = []
    for row in sorted(rows, key=lambda row: (row["evaluations"], -mean(row))):
        if not front or mean(row) > mean(front[-1]):
            front.append(row)
    return front


def markdown(rows: list[dict], presets: dict[str, Preset], title: str) -> str:
    """Tables scheduler × steps of every measure, then the presets and what each gains over the one before."""
    lines = [f"# {title}", ""]
    for name, measure in BASIC_MEASURES.items():
        lines += [f"## {measure.heading}", "", *_table(rows, lambda row, n=name, m=measure: f"{mean(row, n):{m.form}}")]
    lines += [
        "## Real-time factor (evaluations of the network)",
        "",
        *_table(rows, lambda row: f"{row['real_time_factor']:.3f} ({row['evaluations']})"),
        "## Averaged estimates, and the presets that follow",
        "",
    ]
    by_setting = {setting_of(row): row for row in rows}
    base = by_setting[FIRST]
    names = {setting: [name for name, preset in presets.items() if preset == setting] for setting in by_setting}
    cells = []
    for setting, row in by_setting.items():
        if names[setting] or setting.num_estimates > 1 or setting.scheduler == "ddim":
            gain = bootstrap_gain(scores(row), scores(base))
            cost = [row["evaluations"], f"{row['real_time_factor']:.3f}"]
            scored = [f"{mean(row):.3f}", f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"]
            cells.append([label(row), ", ".join(names[setting]), *cost, *scored])
    headings = ["setting", "preset", "evaluations", "real-time factor", "PESQ", "PESQ over DDIM, 1 step"]
    lines += table(headings, cells)
    return "\n".join(lines) + "\n"


def _table(rows: list[dict], cell) -> list[str]:
    cells = {(row["scheduler"], row["num_inference_steps"]): cell(row) for row in rows if row["num_estimates"] == 1}
    steps = sorted({key[1] for key in cells})
    schedulers = dict.fromkeys(key[0] for key in cells)
    body = [[scheduler, *(cells.get((scheduler, n), "–") for n in steps)] for scheduler in schedulers]
    return [*table(["scheduler", *(counted(n, "step") for n in steps)], body), ""]


def _points(rows: list[dict]) -> tuple[list[float], list[float]]:
    return [row["real_time_factor"] for row in rows], [mean(row) for row in rows]


def draw(rows: list[dict], presets: dict[str, Preset], references: dict[str, float], path: Path) -> None:
    """PESQ over real-time factor: a line per scheduler, the Pareto front, the presets, and levels to compare with."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(10, 5.5), layout="constrained")
    colours = pyplot.colormaps["tab20"]
    for index, scheduler in enumerate(dict.fromkeys(row["scheduler"] for row in rows)):
        line = [row for row in rows if row["scheduler"] == scheduler and row["num_estimates"] == 1]
        line.sort(key=lambda row: row["num_inference_steps"])
        axes.plot(*_points(line), "o-", color=colours(index), markersize=4, linewidth=1, alpha=0.8, label=scheduler)
    averaged = [row for row in rows if row["num_estimates"] > 1]
    axes.plot(*_points(averaged), "k^", markersize=5, label="averaged estimates")
    front = pareto_front(rows)
    axes.plot(*_points(front), "k--", linewidth=1, label="Pareto front")
    by_setting = {setting_of(row): row for row in rows}
    for setting in (setting for setting in dict.fromkeys(presets.values()) if setting in by_setting):
        row = by_setting[setting]
        names = ", ".join(name for name, preset in presets.items() if preset == setting)
        axes.annotate(
            names,
            (row["real_time_factor"], mean(row)),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            weight="bold",
        )
    for name, level in references.items():
        axes.axhline(level, color="grey", linewidth=1, linestyle=":")
        axes.annotate(name, (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", color="grey")
    axes.set(xscale="log", xlabel="real-time factor (seconds of computing per second of audio)", ylabel="PESQ-wb")
    axes.margins(y=0.1)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    figure.legend(loc="outside right upper", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> None:
    from speech_enhance import DEFAULT_CHECKPOINT, SpeechEnhancementPipeline

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="data/pairs-valid-*.parquet", help="dataset with columns clean and noisy")
    parser.add_argument("--split", default="test", help="split of a folder or Hub dataset")
    parser.add_argument("--limit", type=int, default=20, help="only this many pairs, evenly spread")
    parser.add_argument("--model", default=str(DEFAULT_CHECKPOINT), help="pipeline folder or Hub id")
    parser.add_argument("--schedulers", nargs="*", choices=SCHEDULERS, default=list(SCHEDULERS))
    parser.add_argument("--steps", type=int, nargs="*", default=STEPS)
    parser.add_argument("--presets", metavar="REPORT", help="derive the presets from this report (JSON), of more pairs")
    parser.add_argument("--output", help="path of the report without extension")
    options = parser.parse_args(arguments)

    try:
        pairs = load_pairs(options.pairs, options.limit, split=options.split)
        pipeline = SpeechEnhancementPipeline.from_pretrained(options.model)
        pipeline.set_progress_bar_config(disable=True)
        settings = [Preset(name, steps, 1) for steps in options.steps for name in options.schedulers] + list(AVERAGED)
        settings = list(dict.fromkeys([FIRST, *settings]))  # all gains are measured against the first
        partial = Path(options.output + ".partial.jsonl") if options.output else None
        speaking = json.loads(Path(options.presets).read_text(encoding="utf-8")) if options.presets else None
        rows = measure_all(pipeline, settings, pairs, partial)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    presets = derive_presets(speaking or rows)
    title = f"Schedulers and steps on {options.pairs} ({len(pairs)} files)"
    write_report(options.output, rows, markdown(rows, presets, title))
    if partial:
        noisy = mean_score([pesq(pair.noisy, pair.clean) for pair in pairs])
        draw(rows, presets, {"untouched noisy": noisy}, Path(options.output + ".png"))
        partial.unlink()
    if presets != PRESETS:
        print(f"the package's presets are others than these figures speak for: {presets}", file=sys.stderr)


if __name__ == "__main__":
    main()
