"""The progress of a run: its losses, its speed, and how much of its time is used."""

import time
from collections.abc import Iterable, Iterator

import torch
from tqdm.auto import tqdm

FEW_STEPS = 1000
"""Stands for the timestep of examples that learn at the end of a few steps of sampling."""

_BANDS = {"low": 0, "middle": 333, "high": 666, "terminal": 999, "few_steps": FEW_STEPS}


class LossMeter:
    """Mean loss over all processes since the last report: of all examples, and by band of timesteps.

    The sums stay on the device until a report, so that no step waits for them.
    """

    def __init__(self, device: torch.device):
        self._first_timesteps = torch.tensor(list(_BANDS.values()), device=device)
        self._sums = torch.zeros(2, len(_BANDS), device=device)

    def add(self, losses: torch.Tensor, timesteps: torch.Tensor) -> None:
        """Count the losses `(batch,)` of examples at `timesteps (batch,)`."""
        bands = torch.bucketize(timesteps, self._first_timesteps, right=True) - 1
        self._sums.index_add_(1, bands, torch.stack([losses.detach().float(), torch.ones_like(losses)]))

    def report(self, accelerator) -> tuple[dict[str, float], int]:
        """`loss` and `loss_<band>` since the last report, and the number of examples; all processes call it."""
        sums, counts = accelerator.reduce(self._sums.clone(), "sum").tolist()
        self._sums.zero_()
        report = {"loss": sum(sums) / max(sum(counts), 1)}
        by_band = zip(_BANDS, sums, counts, strict=True)
        report |= {f"loss_{name}": total / count for name, total, count in by_band if count}
        return report, int(sum(counts))


def progress_bar(done: float, step: int, disable: bool) -> tqdm:
    """A bar from `done`, the share of a run that is done at `step`, to 1. It also shows the time that is left."""
    form = "{desc}{percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} left{postfix}"
    return tqdm(total=1.0, initial=done, bar_format=form, desc=f"step {step}: ", disable=disable)


CLOCKS = {"wall": time.monotonic, "cpu": time.process_time}


class RunClock:
    """Time of a run over all its resumed parts.

    Args:
        max_minutes: Budget of time, or `None`.
        clock: Name of the clock: `"wall"`, or `"cpu"` for the processor time of this process, which does not depend on
            other work of the machine.
    """

    def __init__(self, max_minutes: float | None = None, clock: str = "wall"):
        self._now = CLOCKS[clock]
        self.budget = None if max_minutes is None else 60 * max_minutes
        self.elapsed_before = 0.0
        self.reserve = 0.0
        self._started = self._reported = self._now()
        self._waited = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds of this run so far."""
        return self.elapsed_before + self._now() - self._started

    def used(self) -> float:
        """Share of the budget that is used; 0 without a budget. `reserve` seconds of it are kept for what follows the
        last step."""
        return 0.0 if self.budget is None else self.elapsed / max(self.budget - self.reserve, 1e-3)

    def waiting_for(self, batches: Iterable) -> Iterator:
        """The batches. The time that passes until each is there counts as waiting."""
        iterator = iter(batches)
        while True:
            asked = self._now()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._waited += self._now() - asked
            yield batch

    def report(self, num_windows: int) -> dict[str, float]:
        """Throughput and share of time spent waiting for data since the last report, in which `num_windows` passed."""
        now = self._now()
        seconds = max(now - self._reported, 1e-9)
        report = {"windows_per_second": num_windows / seconds, "data_wait_share": self._waited / seconds}
        self._reported, self._waited = now, 0.0
        return report | {"minutes": self.elapsed / 60}
