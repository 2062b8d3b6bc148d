"""Speech enhancement by conditional diffusion on mel spectrograms.

Names are imported when first used, so that `import speech_enhance` costs nothing. Type checkers see them at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_EXPORTS = {
    "AudioFileError": "audio_files",
    "AudioReader": "audio_files",
    "AudioWriter": "audio_writer",
    "ConditionalUNet2DModel": "unet",
    "DEFAULT_CHECKPOINT": "checkpoints",
    "DNSMOS": "dnsmos",
    "LATENCIES": "live_timing",
    "LiveEnhancer": "live",
    "LiveTiming": "live_timing",
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

if TYPE_CHECKING:  # the same names as above, in the form that a typed package exports
    from .audio_files import AudioFileError as AudioFileError
    from .audio_files import AudioReader as AudioReader
    from .audio_files import open_audio as open_audio
    from .audio_files import read_audio as read_audio
    from .audio_writer import AudioWriter as AudioWriter
    from .audio_writer import write_audio as write_audio
    from .checkpoints import DEFAULT_CHECKPOINT as DEFAULT_CHECKPOINT
    from .checkpoints import MEL_STAGE_CHECKPOINT as MEL_STAGE_CHECKPOINT
    from .dnsmos import DNSMOS as DNSMOS
    from .file_enhancement import enhance_file as enhance_file
    from .live import LiveEnhancer as LiveEnhancer
    from .live_timing import LATENCIES as LATENCIES
    from .live_timing import LiveTiming as LiveTiming
    from .mel import MelConfig as MelConfig
    from .mel_layouts import MEL_LAYOUTS as MEL_LAYOUTS
    from .mel_layouts import convert_mel as convert_mel
    from .metrics import estoi as estoi
    from .metrics import pesq as pesq
    from .metrics import si_sdr as si_sdr
    from .onnx_unet import OnnxUNet as OnnxUNet
    from .pipeline import SpeechEnhancementOutput as SpeechEnhancementOutput
    from .pipeline import SpeechEnhancementPipeline as SpeechEnhancementPipeline
    from .publishing import publish_pipeline as publish_pipeline
    from .schedulers import PRESETS as PRESETS
    from .schedulers import SCHEDULERS as SCHEDULERS
    from .schedulers import make_scheduler as make_scheduler
    from .schedulers import preset_settings as preset_settings
    from .unet import ConditionalUNet2DModel as ConditionalUNet2DModel
else:

    def __getattr__(name: str):
        if name in _EXPORTS:
            return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
        if name in _DIFFUSERS_BASES:
            return getattr(import_module("diffusers"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
