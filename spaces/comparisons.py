"""Makes the settings that the page compares: presets, and all combinations of schedulers, steps and estimates, each at
some values of the dial for reverberation."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from serving import Limits, RequestError, Settings

from speech_enhance.models.schedulers import PRESETS
from speech_enhance.wording import counted


def comparisons(
    presets: Sequence[str] | None,
    schedulers: Sequence[str] | None,
    steps: Sequence[int] | None,
    estimates: Sequence[int] | None,
    dereverbs: Sequence[float] | None,
    seed: int,
    limits: Limits,
) -> dict[str, Settings]:
    """Return the settings to compare, by their names. Settings with the same result are listed once: one step gives the
    same with every scheduler.

    Raises:
        RequestError: if there are fewer than two settings or more than `limits` allow, or if one exceeds the limits.
    """
    named: dict[str, Settings] = {}
    chosen = [*_presets(presets or [], seed), *_combinations(schedulers or [], steps or [], estimates or [], seed)]
    for name, settings in chosen:
        for dereverb in sorted(dereverbs or [0]):
            at_dial = replace(settings, dereverb=dereverb)
            if at_dial not in named.values():
                named[f"{name}, less reverberation {dereverb:g}" if dereverb else name] = at_dial
    if len(named) < 2:
        raise RequestError(
            "Choose at least two settings that differ: two presets, one and a scheduler with its steps, or two values "
            "of less reverberation."
        )
    if len(named) > limits.max_comparisons:
        raise RequestError(
            f"These are {len(named)} settings; at most {limits.max_comparisons} can be compared at once."
        )
    for settings in named.values():
        settings.check(limits)
    return named


def _presets(names: Sequence[str], seed: int) -> Iterator[tuple[str, Settings]]:
    for name, preset in PRESETS.items():
        if name in names:
            scheduler = preset.scheduler if preset.num_inference_steps > 1 else Settings.scheduler
            yield name.capitalize(), Settings(scheduler, preset.num_inference_steps, preset.num_estimates, seed)


def _combinations(
    schedulers: Sequence[str], steps: Sequence[int], estimates: Sequence[int], seed: int
) -> Iterator[tuple[str, Settings]]:
    for num_steps in sorted(steps):
        for num_estimates in sorted(estimates):
            for scheduler in schedulers:
                counts = f"{counted(num_steps, 'step')}, {counted(num_estimates, 'estimate')}"
                name = f"{scheduler}, {counts}" if num_steps > 1 else counts
                yield name, Settings(scheduler if num_steps > 1 else Settings.scheduler, num_steps, num_estimates, seed)
