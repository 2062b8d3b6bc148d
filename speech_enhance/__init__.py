"""Speech enhancement by conditional diffusion on mel spectrograms.

Names are imported when first used, so that `import speech_enhance` costs nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_EXPORTS = {
    "AudioFileError": "audio_files",
    "AudioReader": "audio_files",
    "AudioWriter": "audio_writer",
    "ConditionalUNet2DModel": "unet",
    "DEFAULT_CHECKPOINT": "checkpoints",
    "DNSMOS": "dnsmos",
    "MEL_LAYOUTS": "mel_layouts",
    "MEL_STAGE_CHECKPOINT": "checkpoints",
    "MelConfig": "mel",
    "OnnxUNet": "onnx_unet",
    "PRESETS": "schedulers",
    "SCHEDULERS": "schedulers",
    "SpeechEnhancementOutput": "pipeline",
    "SpeechEnhancementPipeline": "pipeline",
    "enhance_file": "file_enhancement",
    "convert_mel": "mel_layouts",
    "estoi": "metrics",
    "make_scheduler": "schedulers",
    "open_audio": "audio_files",
    "pesq": "metrics",
    "preset_settings": "schedulers",
    "publish_pipeline": "publishing",
    "read_audio": "audio_files",
    "si_sdr": "metrics",
    "write_audio": "audio_writer",
}

# Diffusers loads a component of ours by looking for its own base classes *as attributes of this module*.
_DIFFUSERS_BASES = ("ModelMixin", "SchedulerMixin")

__all__ = sorted(_EXPORTS)


def __getattr__(name: str):
    if name in _EXPORTS:
        return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    if name in _DIFFUSERS_BASES:
        return getattr(import_module("diffusers"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
