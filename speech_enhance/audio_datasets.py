"""The former place of [`load_audio_dataset`], which stays importable from here."""

from .audio.datasets import load_audio_dataset as load_audio_dataset
