"""The tables of an exam, for the report and the card of the benchmark."""

from dataclasses import asdict

from ..evaluation.bootstrap import Mean
from ..evaluation.measures import COMPARED, MEASURES, headings
from ..evaluation.reports import table
from ..evaluation.score_tables import (
    UTTERANCE,
    Rows,
    average,
    difference,
    difference_cells,
    gains,
    has,
    measured,
    not_available,
    of_group,
    overview,
    plain,
    summarise,
    sure,
    with_interval,
)
from .plan import ExamPlan

UNTOUCHED = "untouched"
WORST = 5
"""Number of files that are named among those that lose words."""
SHORT = ("pesq", "estoi", "dnsmos_ovrl")
HOW_TO_READ = (
    "Every system went through the same code on the same pairs. Larger is better, except for WER, the share of wrong "
    "words. The best "
    "figure of a column is **bold** if its lead over the next best is sure: the 95 % interval of a bootstrap over "
    "files, paired by file, lies "
    "off 0. PESQ, ESTOI, SI-SDR and ViSQOL compare with the clean recording. DNSMOS and DistillMOS guess from the "
    "output alone what "
    "listeners would say. WER is what a Whisper model gets wrong (tiny.en unless `--asr-model` says another). A copy "
    "of PESQ trained our models, so it cannot be the judge alone."
)
DIFFERENCES = "In tables of differences every one that is sure is bold."
REFERENCES = {"transcript": "the transcript", "recogniser": "the recogniser's own text of the clean recording"}


def report(plan: ExamPlan, results: dict[str, dict[str, Rows]], missing: dict[str, str], speed: dict | None) -> str:
    """The whole report: the short table, then every set."""
    lines = [
        "# The exam",
        "",
        *short_table(plan, results, speed),
        "",
        "## How to read the tables",
        "",
        f"{HOW_TO_READ} {DIFFERENCES}",
    ]
    if missing:
        lines += ["", f"Not available here: {'; '.join(f'{name} ({why})' for name, why in missing.items())}."]
    for name, of_set in results.items():
        lines += ["", *set_report(plan, name, of_set)]
    return "\n".join(lines) + "\n"


def short_table(plan: ExamPlan, results: dict[str, dict[str, Rows]], speed: dict | None) -> list[str]:
    """The table for a newcomer: a few systems, the measures that matter, and their speed. Systems that no set ran are
    left out."""
    scores, words = (results.get(name, {}) for name in (plan.short_set, plan.words_set))
    body = []
    for system in plan.short_systems:
        if system not in scores and system not in words:
            continue
        rows, heard = scores.get(system, []), words.get(system, [])
        if not rows and not heard:
            body.append([system, *not_available(len(SHORT) + 2)])
            continue
        cells = [plain(average(rows, name), MEASURES[name].form) for name in SHORT]
        cells.append(plain(average(heard, "wer"), MEASURES["wer"].form))
        factor = (speed or {}).get("systems", {}).get(system, {}).get("real_time_factor", {}).get("1")
        body.append([system, *cells, "–" if factor is None else f"{factor:.3f}"])
    note = (
        f"{', '.join(headings(SHORT))} on `{plan.short_set}`, WER on `{plan.words_set}`; "
        "real-time factor: seconds of computing for a second of sound on one thread. –: not measured."
    )
    return [*table(["system", *headings((*SHORT, "wer")), "real-time factor"], body), "", note]


def set_report(plan: ExamPlan, name: str, results: dict[str, Rows]) -> list[str]:
    """Everything about one set."""
    variants = [system for system in plan.variants() if results.get(system)]
    systems = without_variants(plan, results)
    first = next((rows for rows in systems.values() if rows), [])
    if not first:
        return [f"## {name}", "", "No system of this set was available."]
    names = measured(systems, COMPARED)
    lines = [
        f"## {name}: {len(first)} files",
        "",
        *([f"{plan.sets[name].description}.", ""] if plan.sets[name].description else []),
    ]
    lines += first_table(plan, results)
    if has(first, "wer"):
        lines += ["", words_note(first)]
    if systems.get(plan.main_system) and len(systems) > 1:
        lines += ["", f"### {name}: what {plan.main_system} differs by from the others, paired by file", ""]
        lines += gains(systems, plan.main_system, names, mark_sure=True)
    if variants:
        lines += ["", *variants_table(plan, name, variants, results)]
    if UTTERANCE in first[0] and has(first, "wer"):
        lines += ["", *words_by_ratio(name, results), *lost_words(name, systems)]
    return lines


def first_table(plan: ExamPlan, results: dict[str, Rows]) -> list[str]:
    """Systems as rows, measures as columns."""
    systems = without_variants(plan, results)
    return overview(systems, measured(systems, COMPARED), plain, mark_best=True)


def without_variants(plan: ExamPlan, results: dict[str, Rows]) -> dict[str, Rows]:
    """The results of all systems but the limits and mixes of the main one."""
    return {system: rows for system, rows in results.items() if system not in plan.variants()}


def words_note(rows: Rows) -> str:
    """A sentence that says what the words were compared with."""
    references = dict.fromkeys(str(row["wer_reference"]) for row in rows if row.get("wer_reference"))
    words = sum(row["words"] for row in rows)
    against = " and ".join(REFERENCES.get(reference, reference) for reference in references)
    return f"WER of {words:.0f} words, against {against or 'an unnamed reference'}."


def variants_table(plan: ExamPlan, name: str, variants: list[str], results: dict[str, Rows]) -> list[str]:
    """What limits and mixes change, paired by file."""
    whole = results.get(plan.main_system, [])
    if not whole:
        return []
    names = [measure for measure in COMPARED if has(results[variants[0]], measure)]
    body = []
    for system in variants:
        cells = difference_cells({measure: difference(results[system], whole, measure) for measure in names}, True)
        body.append([system.removeprefix(f"{plan.main_system}, "), *cells])
    heading = f"### {name}: what an attenuation limit or a mix changes of {plan.main_system}"
    return [heading, "", *table(["change", *headings(names)], body)]


def figures(plan: ExamPlan, results: dict[str, dict[str, Rows]]) -> dict[str, dict]:
    """The same as [`report`] for programs: by set the number of files, the lines of its first table, and of each system
    every mean, its difference from the untouched recordings, and WER by ratio, all with their intervals."""
    stored: dict[str, dict] = {}
    for name, systems in results.items():
        files = max((len(rows) for rows in systems.values()), default=0)
        stored[name] = {"files": files, "table": first_table(plan, systems), "systems": {}}
        noisy = systems.get(UNTOUCHED, [])
        for system, rows in systems.items():
            if not rows:
                continue
            stored[name]["systems"][system] = entry = {"summary": summarise(rows)}
            shared = [measure for measure in COMPARED if has(rows, measure) and has(noisy, measure)]
            entry["less_untouched"] = {measure: asdict(difference(rows, noisy, measure)) for measure in shared}
            if "wer" in shared and "snr_db" in rows[0]:
                entry["wer_by_ratio"] = {
                    f"{ratio:g}": {
                        "summary": asdict(average(of_group(rows, "snr_db", ratio), "wer")),
                        "less_untouched": asdict(wer_less_untouched(rows, noisy, ratio)),
                    }
                    for ratio in ratios_of(rows)
                }
    return stored


def ratios_of(rows: Rows) -> list[float]:
    """Ratios of speech to noise that occur."""
    return sorted({row["snr_db"] for row in rows if row["snr_db"] is not None})


def wer_less_untouched(rows: Rows, noisy: Rows, ratio: float) -> Mean:
    """WER of the files of a ratio minus that of the untouched recordings."""
    return difference(of_group(rows, "snr_db", ratio), of_group(noisy, "snr_db", ratio), "wer")


def words_by_ratio(name: str, results: dict[str, Rows]) -> list[str]:
    """WER at every ratio, and whether it is above or below that of the untouched recordings for sure."""
    results = {system: rows for system, rows in results.items() if rows and has(rows, "wer")}
    if UNTOUCHED not in results:
        return []
    noisy = results[UNTOUCHED]
    ratios = ratios_of(noisy)
    counts = [sum(row["words"] for row in of_group(noisy, "snr_db", ratio)) for ratio in ratios]
    columns = ["system", *(f"{ratio:g} dB ({count:.0f} words)" for ratio, count in zip(ratios, counts, strict=True))]
    means, differences = [], []
    for system, rows in results.items():
        values = [average(of_group(rows, "snr_db", ratio), "wer") for ratio in ratios]
        means.append([system, *(with_interval(value, ".3f") for value in values)])
        if system != UNTOUCHED:
            differences.append([system, *(verdict(wer_less_untouched(rows, noisy, ratio)) for ratio in ratios)])
    return [
        f"### {name}: WER by ratio, with the interval of a bootstrap over utterances",
        "",
        *table(columns, means),
        "",
        f"### {name}: WER less that of the untouched recording",
        "",
        *table(columns, differences),
    ]


def verdict(value: Mean) -> str:
    """A difference of WER, with what it says if it is sure."""
    text = with_interval(value, "+.3f")
    return f"**{text} {'worse' if value.mean > 0 else 'better'}**" if sure(value) else text


def lost_words(name: str, systems: dict[str, Rows]) -> list[str]:
    """The files in which each system costs most words over the untouched recording, with what the recogniser heard."""
    noisy = systems.get(UNTOUCHED, [])
    lines = []
    for system, rows in systems.items():
        if system == UNTOUCHED or not (rows and noisy):
            continue
        lost = [
            (row["word_errors"] - before["word_errors"], row, before) for row, before in zip(rows, noisy, strict=True)
        ]
        worst = sorted((item for item in lost if item[0] > 0), key=lambda item: (-item[0], item[1]["id"]))[:WORST]
        if worst:
            lines += ["", f"### {name}: where {system} loses most words", ""]
        for count, row, before in worst:
            lines.append(
                f"- `{row[UTTERANCE]}` at {row['snr_db']:g} dB: {before['word_errors']:.0f} wrong words of "
                f"{row['words']:.0f} untouched, "
                f"{row['word_errors']:.0f} after (+{count:.0f})"
            )
            texts = {"clean": row.get("reference_text"), "untouched": before.get("text"), "after": row.get("text")}
            lines += [f"  - {which}: {text or '(nothing)'}" for which, text in texts.items() if text is not None]
    return lines
