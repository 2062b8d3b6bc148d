"""What a run says at its end: whether it helped, where the model is, and how to try it."""

import json
from pathlib import Path

from speech_enhance.metrics import BASIC_METRICS

from .config import TrainingConfig

_FORMS = {"pesq": ("PESQ", ".2f"), "estoi": ("ESTOI", ".3f"), "si_sdr": ("SI-SDR", ".1f")}


def ending(config: TrainingConfig, num_pairs: int) -> str:
    """The last lines of a run, of what its log holds: scores before and after on its `num_pairs` pairs, if it has any, the
    folder of the model, and a command."""
    lines, folder = [], Path(config.output_dir) / "pipeline"
    if num_pairs:
        steps = config.validation_steps[0]
        entries = [json.loads(line) for line in (Path(config.output_dir) / "log.jsonl").read_text("utf-8").splitlines()]
        names = {f"valid_{steps}_steps/{name}": _FORMS[name] for name in BASIC_METRICS}
        scored = [entry for entry in entries if names.keys() & entry.keys()]
        changes = [
            f"{label} {scored[0][name]:{form}} → {scored[-1][name]:{form}}"
            for name, (label, form) in names.items()
            if name in scored[0] and name in scored[-1]
        ]
        pairs = "1 pair" if num_pairs == 1 else f"{num_pairs} pairs"
        lines.append(f"Before → after, on {pairs} kept apart: {', '.join(changes)}")
    lines.append(f"The model is in {folder}")
    if config.degradation is None:
        lines.append(f"Try it: speech-enhance NOISY.wav ENHANCED.wav --model {folder}")
    return "\n".join(lines)
