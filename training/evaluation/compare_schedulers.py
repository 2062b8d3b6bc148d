"""Compare schedulers: each of the package's at 1 to 30 steps, speed and quality side by side.

    python -m training.evaluation.compare_schedulers --output training/results/schedulers

Writes OUTPUT.json (every file), OUTPUT.md (tables) and OUTPUT.png (the picture), and derives the presets. Run it on an
otherwise idle machine: it measures speed. A stopped run goes on where it was (OUTPUT.partial.jsonl).

The presets must gain on several sets, so each has a report, and each report names the presets that all of them speak
for: `--pairs SET --output REPORT` for each, then `--presets REPORT… --report-only` (docs/measuring.md).
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
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
AVERAGED = tuple(Preset("ddim", 1, num_estimates) for num_estimates in (2, 3, 4, 6, 12))
FIRST = Preset("ddim", 1, 1)
PRESET_EVALUATIONS = {"balanced": 4, "best": 16}
LEAST_SI_SDR = -10.0
"""Below this SI-SDR in dB an output holds other sound than the reference, such as another voice. PESQ, which aligns
both before it compares them, is meaningless there: one such output had 2.36, and with two estimates averaged 1.07."""


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
    """Rows of all settings; those that `partial` holds already are not measured again, and those that the pipeline
    refuses are left out.

    Raises:
        ValueError: if the pipeline refuses the first setting, or if `partial` holds scores of other files.
    """
    rows = stored_rows(partial)
    check_files(rows, pairs, f"{partial} holds scores of other files; delete it to begin anew")
    done = {setting_of(row) for row in rows}
    if len(done) < len(settings):
        measure(pipeline, settings[0], pairs[:2])  # warm-up
    for setting in settings:
        if setting in done:
            continue
        try:
            row = measure(pipeline, setting, pairs)
        except ValueError as error:  # Diffusers has schedulers that fail at some numbers of steps
            if setting == FIRST:  # every gain is measured against it
                raise
            print(f"… {label(asdict(setting))}: left out, {error}", file=sys.stderr)
            continue
        print(f"… {label(row)}: {row['real_time_factor']:.3f} × real time", file=sys.stderr)
        rows.append(row)
        if partial:
            append_row(partial, row)
    return rows


def check_files(rows: list[dict], pairs: list[Pair], message: str) -> None:
    """Refuse rows of other files than these pairs.

    Raises:
        ValueError: with `message`.
    """
    if any([file["id"] for file in row["files"]] != [pair.id for pair in pairs] for row in rows):
        raise ValueError(message)


def read_rows(path: str) -> list[dict]:
    """The rows of a report in JSON."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


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


def judged(rows: list[dict]) -> list[dict]:
    """The rows without the files that PESQ cannot judge at some setting, see [`LEAST_SI_SDR`]."""
    lost = {file["id"] for row in rows for file in row["files"] if file["si_sdr"] < LEAST_SI_SDR}
    return [{**row, "files": [file for file in row["files"] if file["id"] not in lost]} for row in rows]


def derive_presets(reports: Sequence[list[dict]]) -> dict[str, Preset]:
    """The presets that the rows of one or more sets justify.

    A setting gains over another one on a set if its PESQ is better, paired by file, with the whole 95 % interval above
    0; only [`judged`] files count. `fast` is one step of DDIM: every scheduler's single step is the same estimate.
    `balanced` has at most 4 evaluations and gains over `fast` on every set. Of such settings it is the cheapest over
    which the best one gains on no set. `best` is found likewise above `balanced`, with at most 16 evaluations. A preset
    that gains nothing does not exist.

    Args:
        reports: The rows of each set. Settings that some set lacks are left out.
    """
    sets = [{setting_of(row): row for row in judged(rows)} for rows in reports]
    settings = [setting for setting in sets[0] if all(setting in rows for rows in sets)]

    def evaluations(setting: Preset) -> int:
        return sets[0][setting]["evaluations"]

    def quality(setting: Preset) -> float:
        return mean_score([mean(rows[setting]) for rows in sets])

    def gains(setting: Preset, over: Preset) -> list[bool]:
        return [bootstrap_gain(scores(rows[setting]), scores(rows[over])).low > 0 for rows in sets]

    presets = {"fast": FIRST}
    for name, most in PRESET_EVALUATIONS.items():
        before = list(presets.values())[-1]
        affordable = [item for item in settings if evaluations(before) < evaluations(item) <= most]
        earned = [item for item in affordable if all(gains(item, before))]
        if earned:
            top = max(earned, key=quality)
            as_good = [item for item in earned if not any(gains(top, item))]
            presets[name] = min(as_good, key=lambda item: (evaluations(item), -quality(item)))
    return presets


def pareto_front(rows: list[dict]) -> list[dict]:
    """The rows that no other row beats in PESQ with as many evaluations or fewer, cheapest first."""
    front = []
    for row in sorted(rows, key=lambda row: (row["evaluations"], -mean(row))):
        if not front or mean(row) > mean(front[-1]):
            front.append(row)
    return front


def markdown(rows: list[dict], presets: dict[str, Preset], title: str, speaking: dict[str, list[dict]]) -> str:
    """Tables scheduler × steps of every measure, then the averaged estimates, and what each gains over one step on the
    sets from which the presets are derived (`speaking`)."""
    counted_rows = {name: judged(others) for name, others in speaking.items()}
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
    names = {preset: name for name, preset in presets.items()}
    cells = []
    for row in rows:
        setting = setting_of(row)
        if setting in names or setting.num_estimates > 1 or setting.scheduler == "ddim":
            gains = [_gain(setting, others) for others in counted_rows.values()]
            cost = [row["evaluations"], f"{row['real_time_factor']:.3f}"]
            cells.append([label(row), names.get(setting, ""), *cost, f"{mean(row):.3f}", *gains])
    over = [f"PESQ over DDIM, 1 step{f', {name}' if name else ''}" for name in speaking]
    lines += table(["setting", "preset", "evaluations", "real-time factor", "PESQ", *over], cells)
    numbers = [
        f"{len(counted_rows[name][0]['files'])} of {len(others[0]['files'])}{f' of {name}' if name else ''}"
        for name, others in speaking.items()
    ]
    rule = f"Gains are of files that have at least {LEAST_SI_SDR:g} dB of SI-SDR at every setting"
    lines += ["", f"{rule}: {', '.join(numbers)}."]
    return "\n".join(lines) + "\n"


def _gain(setting: Preset, rows: list[dict]) -> str:
    by_setting = {setting_of(row): row for row in rows}
    if setting not in by_setting:
        return "–"
    gain = bootstrap_gain(scores(by_setting[setting]), scores(by_setting[FIRST]))
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


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
    parser.add_argument(
        "--presets", metavar="REPORT", nargs="+", help="derive the presets from these reports (JSON), one for each set"
    )
    parser.add_argument("--output", help="path of the report without extension")
    parser.add_argument("--report-only", action="store_true", help="write the report anew from OUTPUT.json")
    options = parser.parse_args(arguments)
    if options.report_only and not options.output:
        parser.error("--report-only needs --output")

    try:
        pairs = load_pairs(options.pairs, options.limit, split=options.split)
        partial = Path(options.output + ".partial.jsonl") if options.output else None
        speaking = {Path(path).stem: read_rows(path) for path in options.presets or []}
        if options.report_only:
            rows = read_rows(f"{options.output}.json")
            check_files(rows, pairs, f"{options.output}.json holds scores of other files; give its --pairs and --limit")
        else:
            pipeline = SpeechEnhancementPipeline.from_pretrained(options.model)
            pipeline.set_progress_bar_config(disable=True)
            settings = [Preset(name, steps, 1) for steps in options.steps for name in options.schedulers]
            settings = list(dict.fromkeys([FIRST, *settings, *AVERAGED]))  # gains are measured against the first
            rows = measure_all(pipeline, settings, pairs, partial)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    speaking = speaking or {"": rows}
    presets = derive_presets(list(speaking.values()))
    title = f"Schedulers and steps on {options.pairs} ({len(pairs)} files)"
    write_report(options.output, rows, markdown(rows, presets, title, speaking))
    if partial:
        noisy = mean_score([pesq(pair.noisy, pair.clean) for pair in pairs])
        draw(rows, presets, {"untouched noisy": noisy}, Path(options.output + ".png"))
        if not options.report_only:
            partial.unlink()
    if presets != PRESETS:
        print(f"the package's presets are others than these figures speak for: {presets}", file=sys.stderr)


if __name__ == "__main__":
    main()
