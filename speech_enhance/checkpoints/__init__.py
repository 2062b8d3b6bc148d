"""The bundled checkpoints."""

from pathlib import Path

DEFAULT_CHECKPOINT = Path(__file__).parent / "base"
"""Folder of the checkpoint that `speech-enhance` uses unless told otherwise."""
