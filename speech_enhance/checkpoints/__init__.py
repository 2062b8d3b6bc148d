"""The bundled checkpoints."""

from pathlib import Path

DEFAULT_CHECKPOINT = Path(__file__).parent / "base"
"""Folder of the checkpoint that `speech-enhance` uses unless told otherwise."""

LIVE_CHECKPOINT = Path(__file__).parent / "live"
"""Folder of the checkpoint for live sound with a short delay: its [`CausalUNet2DModel`] computes each frame once."""

MEL_STAGE_CHECKPOINT = Path(__file__).parent / "mel_stage"
"""Folder of the checkpoint for mels of SpeechT5, between an acoustic model and a vocoder; a small vocoder is in it."""
