"""The measures that reports and cards show: names, units, decimals, and which way is better."""

from collections.abc import Iterable
from dataclasses import dataclass

from speech_enhance.metrics.reference import BASIC_METRICS


@dataclass(frozen=True)
class Measure:
    """A column of a report.

    Args:
        name: Name of the measure.
        decimals: Number of decimals of its values.
        unit: Unit of its values.
        signed: Whether its values have a plus.
        counted: Column of what is counted, such as wrong words; by default the column of the measure's own name.
        among: Column of how many there are: the measure is the sum of `counted` over the sum of these. By default it is
            the mean over files.
        smaller_is_better: Whether the best system has the smallest value.
    """

    name: str
    decimals: int
    unit: str = ""
    signed: bool = False
    counted: str | None = None
    among: str | None = None
    smaller_is_better: bool = False

    @property
    def heading(self) -> str:
        """Heading of the column."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def form(self) -> str:
        """Format of its values."""
        return f"{'+' * self.signed}.{self.decimals}f"

    @property
    def fine_form(self) -> str:
        """Format with one more decimal, where variants of one model are compared."""
        return f"{'+' * self.signed}.{self.decimals + 1}f"


MEASURES = {
    "pesq": Measure("PESQ", 2),
    "estoi": Measure("ESTOI", 3),
    "si_sdr": Measure("SI-SDR", 1, "dB"),
    "csig": Measure("CSIG", 2),
    "cbak": Measure("CBAK", 2),
    "covl": Measure("COVL", 2),
    "dnsmos_sig": Measure("DNSMOS SIG", 2),
    "dnsmos_bak": Measure("DNSMOS BAK", 2),
    "dnsmos_ovrl": Measure("DNSMOS OVRL", 2),
    "distillmos": Measure("DistillMOS", 2),
    "visqol": Measure("ViSQOL", 2),
    "wer": Measure("WER", 3, counted="word_errors", among="words", smaller_is_better=True),
    "noise_reduction_db": Measure("less noise in pauses", 1, "dB"),
}
COMPARED = ("pesq", "estoi", "si_sdr", "dnsmos_ovrl", "distillmos", "visqol", "wer")
"""Measures that systems are compared by."""
BASIC_MEASURES = {name: MEASURES[name] for name in BASIC_METRICS}
"""Measures that every evaluation has."""


def headings(names: Iterable[str]) -> list[str]:
    """Headings of the columns of some measures."""
    return [MEASURES[name].heading for name in names]
