"""Speech enhancement by conditional diffusion on mel spectrograms.

Names are imported when first used, so that `import speech_enhance` costs nothing. Type checkers see them at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_EXPORTS = {
    "AudioFileError": "audio.files",
    "AudioReader": "audio.files",
    "AudioWriter": "audio.writer",
    "CausalUNet2DModel": "models.causal_unet",
    "ConditionalUNet2DModel": "models.unet",
    "DEFAULT_CHECKPOINT": "checkpoints",
    "DNSMOS": "metrics.dnsmos",
    "LATENCIES": "live.timing",
    "LIVE_CHECKPOINT": "checkpoints",
    "LiveEnhancer": "live.enhancer",
    "LiveTiming": "live.timing",
    "MEL_LAYOUTS": "mel.layouts",
    "MEL_STAGE_CHECKPOINT": "checkpoints",
    "MelConfig": "mel.spectrogram",
    "OnnxCausalUNet": "models.onnx_causal_unet",
    "OnnxUNet": "models.onnx_unet",
    "PRESETS": "models.schedulers",
    "SCHEDULERS": "models.schedulers",
    "SpeechEnhancementOutput": "pipelines.speech_enhancement",
    "SpeechEnhancementPipeline": "pipelines.speech_enhancement",
    "enhance_file": "jobs.file",
    "convert_mel": "mel.layouts",
    "estoi": "metrics.reference",
    "make_scheduler": "models.schedulers",
    "open_audio": "audio.files",
    "pesq": "metrics.reference",
    "preset_settings": "models.schedulers",
    "publish_pipeline": "hub.publishing",
    "read_audio": "audio.files",
    "si_sdr": "metrics.reference",
    "write_audio": "audio.writer",
}

# The published metrics import these modules from here.
_MODULES = {name: f".metrics.{name}" for name in ("dnsmos", "file_metric", "perceptual_ratings", "word_errors")}

# When Diffusers loads one of our components, it looks for its own base classes *as attributes of this module*.
_DIFFUSERS_BASES = ("ModelMixin", "SchedulerMixin")

__all__ = sorted(_EXPORTS)  # pyright: ignore[reportUnsupportedDunderAll] - pyright sees the names below

if TYPE_CHECKING:  # the same names as above, in the form that a typed package exports
    from .audio.files import AudioFileError as AudioFileError
    from .audio.files import AudioReader as AudioReader
    from .audio.files import open_audio as open_audio
    from .audio.files import read_audio as read_audio
    from .audio.writer import AudioWriter as AudioWriter
    from .audio.writer import write_audio as write_audio
    from .checkpoints import DEFAULT_CHECKPOINT as DEFAULT_CHECKPOINT
    from .checkpoints import LIVE_CHECKPOINT as LIVE_CHECKPOINT
    from .checkpoints import MEL_STAGE_CHECKPOINT as MEL_STAGE_CHECKPOINT
    from .hub.publishing import publish_pipeline as publish_pipeline
    from .jobs.file import enhance_file as enhance_file
    from .live.enhancer import LiveEnhancer as LiveEnhancer
    from .live.timing import LATENCIES as LATENCIES
    from .live.timing import LiveTiming as LiveTiming
    from .mel.layouts import MEL_LAYOUTS as MEL_LAYOUTS
    from .mel.layouts import convert_mel as convert_mel
    from .mel.spectrogram import MelConfig as MelConfig
    from .metrics.dnsmos import DNSMOS as DNSMOS
    from .metrics.reference import estoi as estoi
    from .metrics.reference import pesq as pesq
    from .metrics.reference import si_sdr as si_sdr
    from .models.causal_unet import CausalUNet2DModel as CausalUNet2DModel
    from .models.onnx_causal_unet import OnnxCausalUNet as OnnxCausalUNet
    from .models.onnx_unet import OnnxUNet as OnnxUNet
    from .models.schedulers import PRESETS as PRESETS
    from .models.schedulers import SCHEDULERS as SCHEDULERS
    from .models.schedulers import make_scheduler as make_scheduler
    from .models.schedulers import preset_settings as preset_settings
    from .models.unet import ConditionalUNet2DModel as ConditionalUNet2DModel
    from .pipelines.speech_enhancement import SpeechEnhancementOutput as SpeechEnhancementOutput
    from .pipelines.speech_enhancement import SpeechEnhancementPipeline as SpeechEnhancementPipeline
else:

    def __getattr__(name: str):
        if name in _EXPORTS:
            return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
        if name in _MODULES:
            return import_module(_MODULES[name], __name__)
        if name in _DIFFUSERS_BASES:
            return getattr(import_module("diffusers"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
