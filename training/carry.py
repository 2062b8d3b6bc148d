"""A pipeline folder in pieces that can be carried: `python -m training.carry split|join FROM TO`.

`train.py` with `carry_to` writes the averaged weights like this every few minutes. This helps on a machine that may
vanish, or that lets only small files out. A folder of pieces is complete or is not there; `join` checks every byte.
"""

import argparse
import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

from speech_enhance.pending_files import pending_folder, remove_abandoned

PIECE_BYTES = 15 * 2**20
_CONTENTS = "pieces.json"


def split_folder(folder: Path, target: Path, piece_bytes: int = PIECE_BYTES) -> list[Path]:
    """Write `folder` as numbered pieces of at most `piece_bytes` with a list of their SHA-256 sums.

    The pieces are written beside their place and renamed. They replace an earlier folder of pieces as a whole.

    Returns:
        Paths of the pieces.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            tar.add(path, path.relative_to(folder).as_posix())
    data = archive.getbuffer()
    remove_abandoned(target)
    sums = {}
    with pending_folder(target) as partial:
        for number, start in enumerate(range(0, len(data), piece_bytes)):
            piece, name = data[start : start + piece_bytes], f"piece-{number:02d}"
            (partial / name).write_bytes(piece)
            sums[name] = hashlib.sha256(piece).hexdigest()
        (partial / _CONTENTS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
    return [target / name for name in sums]


def join_folder(pieces: Path, target: Path) -> None:
    """Join the pieces that [`split_folder`] wrote into the folder `target`, which must not exist.

    Raises:
        OSError: if a piece is missing or `target` cannot be written.
        ValueError: if a piece differs from what was written, or `target` exists.
    """
    if target.exists():
        raise ValueError(f"{target}: exists already")
    archive = io.BytesIO()
    for name, expected in json.loads((pieces / _CONTENTS).read_text(encoding="utf-8")).items():
        piece = (pieces / name).read_bytes()
        if hashlib.sha256(piece).hexdigest() != expected:
            raise ValueError(f"{pieces / name}: damaged, its SHA-256 sum is another one")
        archive.write(piece)
    archive.seek(0)
    with pending_folder(target) as partial, tarfile.open(fileobj=archive) as tar:
        tar.extractall(partial, filter="data")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("split", "join"))
    parser.add_argument("source", type=Path, metavar="FROM", help="pipeline folder, or folder of pieces")
    parser.add_argument("target", type=Path, metavar="TO", help="folder to make")
    options = parser.parse_args(arguments)
    try:
        {"split": split_folder, "join": join_folder}[options.action](options.source, options.target)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
