"""Converts results files into the figures of a card: numbers as text, tables as lists of rows."""

import re

from speech_enhance.metrics.reference import mean_score
from speech_enhance.models.schedulers import PRESETS
from training.evaluation.bootstrap import Mean, bootstrap_gain
from training.evaluation.compare_schedulers import FIRST, mean, scores, setting_of
from training.evaluation.measures import BASIC_MEASURES

MAIN_SYSTEM = "ours, balanced"
NOISY = "untouched"
CEILING = "true_mel"
LABELS = {
    NOISY: "untouched noisy",
    "spectral_gating": "noisereduce (spectral gating)",
    "spectral_subtraction": "spectral subtraction (pyroomacoustics)",
    "log_mmse": "log-MMSE",
    "rnnoise": "RNNoise",
    "nsnet2": "NSNet2",
    "dtln": "DTLN",
    "deepfilternet3": "DeepFilterNet3",
    "webrtc": "WebRTC noise suppression",
    "wpe": "WPE, which removes no noise",
    "base": "the bundled checkpoint, `base`",
    CEILING: "ceiling of the method: the true clean mel",
}
DROPPED = ("ours, best",)
"""Systems of reports that the package no longer has."""


def number(value: float, form: str) -> str:
    """Format a number with a real minus sign. With two or more decimals, the zero before the point is left out: `.657`,
    `−0.3`; an undefined value becomes `–`."""
    text = f"{float(value):{form}}".replace("-", "−")
    return "–" if text.strip("+−") == "nan" else re.sub(r"^([+−]?)0(\.\d\d)", r"\1\2", text)


def interval(value: Mean | dict, form: str) -> str:
    """Format a mean with its interval: `.54 [.37, .72]`."""
    entry = vars(value) if isinstance(value, Mean) else value
    low, high = (number(entry[name], form) for name in ("low", "high"))
    return f"{number(entry['mean'], form)} [{low}, {high}]"


def is_ours(system: str) -> bool:
    return system.startswith("ours")


def label(system: str) -> str:
    """Return a system's name in the table."""
    if is_ours(system):
        name = system.removeprefix("ours, ")
        name = f"ours, `{name}`" if name in PRESETS else f"ours, {name}"
        return f"**{name}**" + (" (default)" if system == MAIN_SYSTEM else "")
    return LABELS.get(system, system)


def main_system(results: dict) -> str:
    """Return the system whose figures represent the report: the default preset, else the first of our systems."""
    ours = [name for name in results if is_ours(name)]
    if not ours:
        raise ValueError("a report without results of the model itself; leave --presets of evaluate.py as it is")
    return MAIN_SYSTEM if MAIN_SYSTEM in ours else ours[0]


def comparison(reports: dict[str, dict]) -> list[list[str]]:
    """Return rows of a system followed by its PESQ, ESTOI and SI-SDR in each report. The ceiling comes last."""
    systems = list(dict.fromkeys(name for results in reports.values() for name in results if name not in DROPPED))
    rows = []
    for system in sorted(systems, key=lambda name: (name == CEILING, is_ours(name))):
        cells = [label(system)]
        for results in reports.values():
            summary = results.get(system, {}).get("summary", {})
            cells += [
                number(summary.get(name, {"mean": "nan"})["mean"], measure.form)
                for name, measure in BASIC_MEASURES.items()
            ]
        rows.append(cells)
    return rows


def findings(results: dict, by: str | None = None) -> dict:
    """Return one report's findings about the model as text: gains over every other system, paired by file; files that
    lose; means by group; noise in pauses."""
    system = main_system(results)
    ours, noisy = results[system]["files"], results[NOISY]["files"]
    others = [name for name in results if not is_ours(name) and name != CEILING]
    return {
        "system": system.removeprefix("ours, "),
        "count": len(ours),
        "gains": {LABELS.get(name, name): _gains(ours, results[name]["files"]) for name in others},
        "losses": {name: _losses(ours, noisy, name) for name in ("pesq", "si_sdr")},
        "groups": _groups(ours, by) if by else {},
        "pauses": _pauses(results[system]["summary"]),
    }


def _gains(ours: list[dict], other: list[dict]) -> dict[str, str]:
    gains = {}
    for name, measure in BASIC_MEASURES.items():
        pairs = [(float(a[name]), float(b[name])) for a, b in zip(ours, other, strict=True)]
        gains[name] = interval(bootstrap_gain([a for a, _ in pairs], [b for _, b in pairs]), f"+{measure.form}")
    return gains


def _losses(ours: list[dict], noisy: list[dict], name: str) -> dict:
    """Return how many files score lower than the untouched recording, and the greatest loss."""
    lost = [float(b[name]) - float(a[name]) for a, b in zip(ours, noisy, strict=True)]
    lost = [value for value in lost if value > 0]
    return {"count": len(lost), "worst": number(max(lost, default=0.0), BASIC_MEASURES[name].form)}


def _groups(files: list[dict], field: str) -> dict[str, list[str]]:
    """Return means of the measures, grouped by the values of `field`."""
    names = sorted({str(row[field]) for row in files})
    return {
        group: [
            number(mean_score([float(row[name]) for row in files if str(row[field]) == group]), measure.form)
            for name, measure in BASIC_MEASURES.items()
        ]
        for group in names
    }


def _pauses(summary: dict) -> str | None:
    entry = summary.get("noise_reduction_db")
    return interval(entry, ".1f") if entry and entry["count"] else None


def scheduler_findings(rows: list[dict], untouched: list[dict], preset_rows: list[dict] | None = None) -> dict:
    """Return a table of schedulers × steps, the gain of more steps, the settings that fall below the untouched
    recordings, and the gains of the presets. The presets' gains come from `preset_rows` if they are given."""
    single = [row for row in rows if row["num_estimates"] == 1]
    steps = sorted({row["num_inference_steps"] for row in single})
    cells = {(row["scheduler"], row["num_inference_steps"]): number(mean(row), ".2f") for row in single}
    first = next(row for row in rows if setting_of(row) == FIRST)
    noisy_by_id = {file["id"]: float(file["pesq"]) for file in untouched}
    noisy = [noisy_by_id[file["id"]] for file in first["files"] if file["id"] in noisy_by_id]
    several = [row for row in single if row["num_inference_steps"] > 1]
    best = max(several, key=mean, default=first)
    below = [row for row in several if noisy and mean(row) < mean_score(noisy)]
    return {
        "count": len(first["files"]),
        "steps": steps,
        "rows": [[name, *(cells.get((name, n), "–") for n in steps)] for name in dict.fromkeys(k[0] for k in cells)],
        "best_several": f"{best['scheduler']}, {best['num_inference_steps']} steps",
        "several_gain": interval(bootstrap_gain(scores(best), scores(first)), "+.3f"),
        "several_pay": mean(best) > mean(first),
        "below": [f"{row['scheduler']} at {row['num_inference_steps']}" for row in below],
        "preset_count": len((preset_rows or rows)[0]["files"]),
        "presets": [_measured_preset(name, preset_rows or rows) for name in PRESETS],
    }


def _measured_preset(name: str, rows: list[dict]) -> dict[str, str]:
    first, row = (next((row for row in rows if setting_of(row) == wanted), None) for wanted in (FIRST, PRESETS[name]))
    gain = ""
    if row is None or first is None:
        gain = "not measured"
    elif row is not first:
        gain = interval(bootstrap_gain(scores(row), scores(first)), "+.3f")
    return _preset(name) | {"gain": gain}


def _preset(name: str) -> dict[str, str]:
    preset = PRESETS[name]
    return {
        "name": name,
        "setting": f"{preset.scheduler}, {preset.num_inference_steps}",
        "estimates": str(preset.num_estimates),
    }


def speed_findings(results: dict) -> dict:
    """Return the real-time factors of the presets and the memory used, as text."""
    factors = results["real_time_factor"]
    memory = results.get("peak_memory_mb") or {
        f"60 s, {name}": value for name, value in results.get("peak_memory_mb_60_s", {}).items()
    }
    return {
        "machine": results["machine"],
        "presets": [_preset(name) for name in PRESETS],
        "factor": {name: number(row["real_time_factor"], ".3f") for name, row in factors["torch"].items()},
        "onnx": {name: number(row["real_time_factor"], ".3f") for name, row in factors.get("onnx", {}).items()},
        "memory": {name: f"{value:,.0f} MB" for name, value in memory.items()},
    }
