"""What a checkpoint leaves of talkers who speak at once, and of the late reverberation of a room.

    python -m training.evaluation.measure_components --pairs runs/pairs-talkers.parquet \\
        --output training/results/pairs-talkers
    python -m training.evaluation.measure_components --pairs runs/pairs-rooms.parquet \\
        --output training/results/pairs-rooms

Pairs with columns `talker_1`, `talker_2` and so on give two measures from `overlap_start` to `overlap_end`, where all
speak: each talker's level in the output over that in the input, and the steps of the output's level that the reference
lacks.
Pairs with a column `reverberant` give the level of the early part of the speech (`clean`) and of its late part in the
output, also over that in the input. `components.py` defines these levels.

With `--dereverb 0 0.5 1` a model that has the dial for reverberation is measured at each of these values.

Writes OUTPUT.json (every file, by value of the dial) and OUTPUT.md (means), and prints the latter.
"""

import argparse
from collections.abc import Callable

import numpy as np

from training.evaluation.bootstrap import bootstrap_mean
from training.evaluation.components import STEP_DB, component_levels_db, gain_steps_db
from training.evaluation.reports import table, write_report
from training.evaluation.score_tables import with_interval
from training.evaluation.systems import SAMPLING_RATE, add_arguments, load_measured
from training.mixtures.loading import decode
from training.validation import Pair


def talkers_row(pair: Pair, output: np.ndarray) -> dict:
    """Measures of a pair of talkers, sorted by their own level in the overlap."""
    tracks = [decode(pair.info[name], SAMPLING_RATE) for name in talker_columns(pair)]
    part = slice(*(round(pair.info[name] * SAMPLING_RATE) for name in ("overlap_start", "overlap_end")))
    tracks = [track[part] for track in tracks]
    before, after = (component_levels_db(audio[part], tracks) for audio in (pair.noisy, output))
    changes = np.subtract(after, before)
    by_level = changes[np.argsort([np.square(track).sum() for track in tracks])]
    steps = gain_steps_db(output, pair.clean)
    return {
        "noise": "without noise" if pair.info["snr_db"] is None else "with noise",
        "louder_db": float(by_level[-1]),
        "softer_db": float(by_level[0]),
        "lowest_db": float(changes.min()),
        "steps_percent": float(100 * (steps > STEP_DB).mean()),
        "largest_step_db": float(steps.max()),
    }


def talker_columns(pair: Pair) -> list[str]:
    """Names of the columns that hold a single talker."""
    return [name for name in pair.info if name.startswith("talker_") and name != "talker_ratio_db"]


def rooms_row(pair: Pair, output: np.ndarray) -> dict:
    """Measures of a pair in a room."""
    early, late = pair.clean, decode(pair.info["reverberant"], SAMPLING_RATE) - pair.clean
    before, after = (component_levels_db(audio, [early, late]) for audio in (pair.noisy, output))
    changes = np.subtract(after, before)
    group = f"{pair.info['reverberation_time']:g} s"
    return {"reverberation_time": group, "early_db": float(changes[0]), "late_db": float(changes[1])}


TALKERS = {
    "louder_db": "loudest talker (dB)",
    "softer_db": "softest talker (dB)",
    "lowest_db": "lowest of them (dB)",
    "steps_percent": f"frames that step by more than {STEP_DB:g} dB (%)",
    "largest_step_db": "largest step (dB)",
}
ROOMS = {"early_db": "direct sound and 50 ms (dB)", "late_db": "late part (dB)"}


def measures(pairs: list[Pair]) -> tuple[Callable[[Pair, np.ndarray], dict], str, dict[str, str]]:
    """The function that makes a row of measures, the column that groups these pairs, and the measures' headings.

    Raises:
        ValueError: if the pairs hold neither two talkers nor a room.
    """
    if len(talker_columns(pairs[0])) > 1:
        return talkers_row, "noise", TALKERS
    if "reverberant" in pairs[0].info:
        return rooms_row, "reverberation_time", ROOMS
    raise ValueError("the pairs have neither columns talker_1 and talker_2 nor a column reverberant")


def markdown(results: dict[str, list[dict]], group: str, headings: dict[str, str], data: str) -> str:
    """For each value of the dial, means of all files and of every group, with their intervals."""
    lines = [f"# {data}", "", "Means over files, with the 95 % interval of a bootstrap over files.", ""]
    for dial, rows in results.items():
        if len(results) > 1:
            lines += [f"## With the dial for reverberation at {dial}", ""]
        cells = []
        for name in ["all", *sorted({row[group] for row in rows})]:
            chosen = [row for row in rows if name in ("all", row[group])]
            means = [bootstrap_mean([row[measure] for row in chosen]) for measure in headings]
            cells.append([f"{name} ({len(chosen)} files)", *(with_interval(mean, ".1f") for mean in means)])
        lines += [*table([group.replace("_", " "), *headings.values()], cells), ""]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument(
        "--dereverb", type=float, nargs="+", default=[0.0], metavar="DIAL", help="values of the dial (default: 0)"
    )
    options = parser.parse_args(arguments)
    pairs, system, title = load_measured(parser, options)
    try:
        row, group, headings = measures(pairs)
    except ValueError as error:
        parser.error(f"{options.pairs}: {error}")
    results = {}
    for dial in options.dereverb:
        try:
            outputs = system(pairs, dereverb=dial)
        except ValueError as error:
            parser.error(str(error))
        results[f"{dial:g}"] = [
            {"id": pair.id} | row(pair, output) for pair, output in zip(pairs, outputs, strict=True)
        ]
    write_report(options.output, results, markdown(results, group, headings, title))


if __name__ == "__main__":
    main()
