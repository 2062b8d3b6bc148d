"""[`load_audio_dataset`] was in this module once and can still be imported from it."""

from .audio.datasets import load_audio_dataset as load_audio_dataset
