"""Enhance a Hugging Face dataset of audio into another, with any number of processes on any number of machines.

    python -m speech_enhance.corpus DATASET OUTPUT                                          # one process
    accelerate launch --multi_gpu --num_processes 8 -m speech_enhance.corpus DATASET OUTPUT # the GPUs of one machine
    ACCELERATE_USE_CPU=true torchrun --nproc-per-node 2 -m speech_enhance.corpus DATASET OUTPUT

DATASET is a Parquet file or pattern, a folder of audio or Parquet files, or the name of a dataset on the Hub. The
corpus is cut into shards, whose number and rows do not depend on the processes. A shard is one unit of work: it appears
in `OUTPUT/data` whole or not at all, and a finished shard is not computed again. After a stop of any kind, the same
command continues the work, with any number of processes.

`load_dataset("OUTPUT")` reads the result; Datasets decodes its sound with torchcodec. Without torchcodec,
`.cast_column("audio", Audio(decode=False))` gives the bytes.
"""

import argparse
import glob
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cli import OneLineParser, add_pipeline_options, number, pipeline_choice
from ..jobs.file import UserError, first_line
from ..jobs.standard_streams import run_command, say
from ..wording import counted
from .output import LAYOUTS, CorpusOutput, totals
from .shard import Row, RowEnhancer

if TYPE_CHECKING:
    from .columns import OutputColumns

ROWS_PER_SHARD = 1000


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0 for done, 1 if the corpus is complete but some rows failed, 2 for
    wrong input, 130 if it was interrupted."""
    return run_command(lambda: run(build_parser().parse_args(arguments)), "interrupted; the same command goes on")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m speech_enhance.corpus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", metavar="DATASET", help="Parquet file or pattern, folder, or name on the Hub")
    parser.add_argument("output", metavar="OUTPUT", help="folder; it is made if need be")
    parser.add_argument("--name", help="configuration of a dataset on the Hub")
    parser.add_argument("--split", default="train", help="default: %(default)s")
    parser.add_argument("--column", default="audio", help="with the sound (default: %(default)s)")
    parser.add_argument("--layout", choices=LAYOUTS, default="parquet", help="of the output (default: %(default)s)")
    parser.add_argument(
        "--audio-format", choices=("wav", "flac", "ogg", "mp3"), help="default: that of each row, FLAC if it tells none"
    )
    parser.add_argument(
        "--rows-per-shard", type=number(int, 1, 10**6), default=ROWS_PER_SHARD, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--streaming",
        action="store_true",
        help="read the corpus as it goes by, never held on disk; a shard is then a file of it",
    )
    add_pipeline_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Do this process's part of the work and return the exit code."""
    check_apart(options)
    process = Process.find(options.device)
    corpus = Corpus.load(options)
    choice = pipeline_choice(options, process.device)
    facts = corpus.facts() | {"how": {key: value for key, value in asdict(choice).items() if key != "device"}}
    output = CorpusOutput(Path(options.output), shard_stem(options.split), corpus.num_shards, options.layout)
    output.begin(facts)
    if process.rank == 0:
        for name, other in corpus.columns.renamed.items():
            say(
                f"the column {name} is called {other} in {output.folder}, since an audiofolder has such names "
                "for its files"
            )
    loaded, worked = None, False
    for shard in process.order(corpus.num_shards):
        with output.claim(shard, shard in process.share(corpus.num_shards)) as free:
            if not free or output.shard_path(shard).exists():
                continue
            loaded = loaded or choice.load()
            enhance = RowEnhancer(choice, loaded, options.audio_format, corpus.roots)
            report = output.write(shard, enhance(corpus.rows(shard)), corpus.columns)
            worked = True
            say(f"{process.name}: shard {shard + 1} of {corpus.num_shards}: {totals(report)}")
    if missing := output.num_missing():
        say(
            f"{process.name}: {counted(missing, 'shard')} left with others; if one of them dies, the same "
            "command goes on"
        )
    elif worked or process.rank == 0:
        report = output.conclude(corpus.num_rows)
        say(f"complete: {totals(report)} ({output.folder})")
        return 1 if any(line["status"] == "failed" for line in report) else 0
    return 0


def check_apart(options: argparse.Namespace) -> None:
    """Refuse an output folder whose shards the dataset would take for its own files.

    Raises:
        UserError: if the output lies in the dataset.
    """
    dataset, folder = options.dataset, Path(options.output)
    shard = CorpusOutput(folder, shard_stem(options.split), 1, options.layout).shard_path(0)
    if os.path.isdir(dataset):
        inside = shard.resolve().is_relative_to(Path(dataset).resolve())
    else:
        inside = Path(os.path.abspath(shard)).match(os.path.abspath(dataset))
    if inside:
        raise UserError(f"{folder} lies in the dataset {dataset}: take a folder outside it")


def shard_stem(split: str) -> str:
    """Return the beginning of the shards' names, from which Datasets knows the split."""
    return re.split(r"\W", split)[0] or "train"


@dataclass(frozen=True)
class Process:
    """One of the processes that a launcher has started.

    Args:
        rank, world: Number of this process, and number of all processes.
        device: Device of this process.
    """

    rank: int
    world: int
    device: str

    @classmethod
    def find(cls, device: str | None) -> "Process":
        """Return this process, on `device` or else on the device that Accelerate assigns to it."""
        import torch
        from accelerate import PartialState

        by_launcher = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        state = PartialState(cpu=by_launcher or device == "cpu")
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if local_processes > 1 and torch.device(str(state.device)).type == "cpu":  # torchrun gives each only one thread
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_processes))
        found = cls(state.process_index, state.num_processes, str(state.device))
        if state.num_processes > 1:
            state.destroy_process_group()  # the processes do not communicate
        return found

    @property
    def name(self) -> str:
        return f"process {self.rank + 1} of {self.world}"

    def share(self, num_shards: int) -> range:
        """Return this process's own shards."""
        return range(self.rank, num_shards, self.world)

    def order(self, num_shards: int) -> list[int]:
        """Return all shards: first its own, then the others from the last on, because the other processes
        begin with their first."""
        own = self.share(num_shards)
        return [*own, *(shard for shard in reversed(range(num_shards)) if shard not in own)]


@dataclass(frozen=True)
class Corpus:
    """The dataset to enhance, cut into shards.

    Args:
        dataset: Dataset in Arrow's form whose sound is not decoded.
        options: Options of the command.
        num_shards: Number of shards.
        num_rows: Number of rows in the dataset, `None` if it is not known in advance.
        roots: Folders as for [`RowEnhancer`].
    """

    dataset: Any
    options: argparse.Namespace
    num_shards: int
    num_rows: int | None
    roots: tuple[Path, ...]

    @classmethod
    def load(cls, options: argparse.Namespace) -> "Corpus":
        """Find the dataset.

        Raises:
            UserError: if the dataset cannot be loaded.
        """
        try:
            import datasets.config
            import datasets.exceptions

            from ..audio.datasets import load_audio_dataset
        except ImportError as error:
            raise UserError("a corpus needs Hugging Face Datasets: pip install datasets") from error
        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # its errors say the same as its log
        path, column = options.dataset, options.column
        try:
            dataset = load_audio_dataset(path, options.split, [column], options.name, options.streaming)
        except Exception as error:  # files, Hub and Arrow share no base class
            generating = isinstance(error, datasets.exceptions.DatasetGenerationError)  # its own text says nothing
            reason = first_line(error.__cause__ if generating and error.__cause__ else error)
            raise UserError(f"cannot load the dataset {path}: {reason}") from error
        if isinstance(dataset, datasets.IterableDataset):
            num_rows, num_shards = None, dataset.num_shards
        else:
            num_rows = len(dataset)
            num_shards = -(-num_rows // options.rows_per_shard)
            if not num_rows:
                raise UserError(f"{path}: holds no rows")
        if Path(path).is_dir():
            roots = [Path(path)]
        elif path.endswith(".parquet"):
            roots = [Path(path).parent]
        else:
            roots = [Path(datasets.config.HF_CACHE_HOME), Path(datasets.config.HF_DATASETS_CACHE)]
        roots = tuple(Path(os.path.abspath(root)) for root in roots)
        return cls(dataset.with_format("arrow"), options, num_shards, num_rows, roots)

    @cached_property
    def columns(self) -> "OutputColumns":
        """The columns of the output."""
        from .columns import OutputColumns

        return OutputColumns(self.dataset.features, self.options.column, self.options.layout)

    def facts(self) -> dict:
        """Facts that must be the same when a run continues."""
        names = ("dataset", "name", "split", "column", "layout", "audio_format", "streaming", "rows_per_shard")
        facts = {name: getattr(self.options, name) for name in names}
        if self.options.layout == "audiofolder":
            facts["metadata"] = "parquet"
        columns = sorted(self.dataset.features)
        path = self.options.dataset
        files = [str(file) for file in Path(path).rglob("*")] if Path(path).is_dir() else glob.glob(path)
        num_bytes = sum(os.path.getsize(file) for file in files if os.path.isfile(file))
        return facts | {"rows": self.num_rows, "shards": self.num_shards, "columns": columns, "bytes": num_bytes}

    def rows(self, shard: int) -> Iterator[Row]:
        """Yield the rows of a shard as they are stored."""
        streamed = self.num_rows is None
        if streamed:
            first, part = 0, self.dataset.shard(self.num_shards, shard)
        else:
            first = shard * self.options.rows_per_shard
            part = self.dataset.select(range(first, min(first + self.options.rows_per_shard, self.num_rows)))
        column = self.options.column
        for row, table in enumerate(self._tables(part, shard), first):
            entry = table.column(column)[0].as_py()
            yield Row(row, entry, table.drop_columns([column]), shard if streamed else None)

    def _tables(self, part, shard: int) -> Iterator:
        """Yield the rows of `part` in Arrow's form, one by one."""
        try:
            yield from part.iter(batch_size=1)
        except Exception as error:  # files, Hub and Arrow share no base class
            reason = f"shard {shard + 1} of {self.num_shards} cannot be read ({first_line(error)})"
            raise UserError(f"{self.options.dataset}: {reason}") from error


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a launcher sends it; exiting removes temporary files
    sys.exit(main())
