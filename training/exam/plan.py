"""What an exam compares: sets of pairs, systems and judges, as a YAML file says."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from speech_enhance import PRESETS

from ..evaluation.systems import SYSTEMS, LiveSystem, System, diffusion, make_system
from ..validation import Pair, load_pairs

PLAN = Path(__file__).parents[1] / "configs" / "exam.yaml"
"""The plan of the exam of this repository."""
SIGNAL = "signal"
"""The judge that compares with the clean reference by signal processing: `score` of `evaluate.py`."""
LIVE = {"live": "onnx", "live by torch": "torch"}
"""Words in place of a preset for a model that enhances live sound, with its own latency, and what runs the network."""
LIMIT = re.compile(r"(.+), limit (\S+) dB")
MIX = re.compile(r"(.+), mix (\S+)")


@dataclass(frozen=True)
class ExamSet:
    """A set of pairs.

    Args:
        pairs: Dataset with columns `clean` and `noisy`: Parquet pattern, folder or Hub name.
        name: Configuration of a dataset on the Hub.
        split: Split of a folder or Hub dataset.
        description: Description of the pairs for the report.
        systems: Systems to run, if not all of the plan.
        judges: Judges to ask, if not all of the plan.
    """

    pairs: str
    name: str | None = None
    split: str = "test"
    description: str = ""
    systems: list[str] | None = None
    judges: list[str] | None = None


@dataclass(frozen=True)
class ExamPlan:
    """What is compared.

    Args:
        sets: Sets of pairs by name.
        systems: Names of systems: those of `systems.py`, `MODEL, PRESET` and `MODEL, live`.
        judges: Names of judges: `signal` and those of `judges.py`.
        models: Pipeline folders or Hub ids by name.
        main_system: System whose gains over the others every table shows. The limits and mixes are tried with it.
        limits_db: Attenuation limits to try.
        mixes: Shares of the enhanced signal to try.
        variant_judges: Judges of these limits and mixes; those that a set does not have are left out.
        short_systems: Systems of the short table.
        short_set: The set whose PESQ, ESTOI and DNSMOS the short table shows.
        words_set: The set whose word error rate the short table shows.
        output_dir: Folder of the systems' outputs.
    """

    sets: dict[str, ExamSet]
    systems: list[str]
    judges: list[str]
    models: dict[str, str]
    main_system: str
    short_systems: list[str]
    short_set: str
    words_set: str
    limits_db: list[float] = field(default_factory=list)
    mixes: list[float] = field(default_factory=list)
    variant_judges: list[str] = field(default_factory=lambda: [SIGNAL, "dnsmos", "wer"])
    output_dir: str = "runs/exam"

    def __post_init__(self):
        if not self.sets:
            raise ValueError("sets: at least one")

    def systems_of(self, name: str) -> list[str]:
        """Systems of a set."""
        own = self.sets[name].systems
        return self.systems if own is None else own

    def judges_of(self, name: str) -> list[str]:
        """Judges of a set."""
        own = self.sets[name].judges
        return self.judges if own is None else own

    def variants(self) -> list[str]:
        """The main system with each limit and each mix."""
        limits = [f"{self.main_system}, limit {limit:g} dB" for limit in self.limits_db]
        return limits + [f"{self.main_system}, mix {mix:g}" for mix in self.mixes]

    def model_of(self, system: str) -> tuple[str, dict] | None:
        """`(model, settings of diffusion)` of `MODEL, PRESET` or `MODEL, PRESET, limit N dB`, `(model, {"backend":
        BACKEND})` of `MODEL, live` or `MODEL, live by torch`; `None` for other names.

        Raises:
            ValueError: for a model that the plan does not have, or no preset.
        """
        settings = {}
        if found := LIMIT.fullmatch(system):
            system, settings = found[1], {"attenuation_limit_db": float(found[2])}
        model, comma, preset = system.partition(", ")
        if not comma:
            return None
        if model in self.models and preset in LIVE and not settings:
            return self.models[model], {"backend": LIVE[preset]}
        if model not in self.models or preset not in PRESETS:
            raise ValueError(
                f"unknown system {system!r}: a model is one of {', '.join(self.models)}, a preset of "
                f"{', '.join(PRESETS)}, or {', '.join(LIVE)}"
            )
        return self.models[model], asdict(PRESETS[preset]) | settings

    def make_system(self, system: str, num_threads: int = 1) -> System:
        """Load a system by its name.

        Raises:
            ImportError: if its package is missing.
            ValueError: for an unknown name.
        """
        if found := self.model_of(system):
            return (LiveSystem if "backend" in found[1] else diffusion)(found[0], **found[1])
        if system not in SYSTEMS:
            raise ValueError(f"unknown system {system!r}; known are {', '.join(SYSTEMS)}, and MODEL, PRESET")
        return make_system(system, num_threads)

    def load_set(self, name: str, limit: int | None) -> list[Pair]:
        """The pairs of a set."""
        item = self.sets[name]
        return load_pairs(item.pairs, limit, split=item.split, name=item.name)


def mix_of(system: str) -> tuple[str, float] | None:
    """`(system, mix)` of the name of a mix, `None` for other names."""
    found = MIX.fullmatch(system)
    return (found[1], float(found[2])) if found else None


def stored_folder(folder: str, name: str) -> Path:
    """Where the outputs of a stored system for a set are: in a subfolder of its name, if there is one."""
    own = Path(folder) / name
    return own if own.is_dir() else Path(folder)
