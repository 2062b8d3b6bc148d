"""What a run says at its end: whether it helped, where the model is, and how to try it."""

from pathlib import Path

from speech_enhance.wording import counted

from .config import TrainingConfig
from .evaluation.measures import BASIC_MEASURES
from .evaluation.reports import stored_rows


def ending(config: TrainingConfig, num_pairs: int) -> str:
    """The last lines of a run, made from its log: scores on its `num_pairs` pairs before and after, if it has any; the
    folder of the model; and a command that tries it."""
    lines, folder = [], Path(config.output_dir) / "pipeline"
    if num_pairs:
        steps = config.validation_steps[0]
        names = {f"valid_{steps}_steps/{name}": measure for name, measure in BASIC_MEASURES.items()}
        scored = [entry for entry in stored_rows(Path(config.output_dir) / "log.jsonl") if names.keys() & entry.keys()]
        changes = [
            f"{measure.name} {scored[0][name]:{measure.form}} → {scored[-1][name]:{measure.form}}"
            for name, measure in names.items()
            if name in scored[0] and name in scored[-1]
        ]
        lines.append(f"Before → after, on {counted(num_pairs, 'pair')} kept apart: {', '.join(changes)}")
    lines.append(f"The model is in {folder}")
    if config.degradation is None:
        lines.append(f"Try it: speech-enhance NOISY.wav ENHANCED.wav --model {folder}")
    return "\n".join(lines)
