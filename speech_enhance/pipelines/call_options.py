"""Names and types of the arguments of a call of the pipeline, for type checkers. Any other keyword is an error."""

from typing import Any, TypedDict

import numpy as np
import torch


class CallOptions(TypedDict, total=False):
    """Keywords of a call, without the recording and the form of the output. [`SpeechEnhancementPipeline`] says what
    each means."""

    num_inference_steps: int | None
    num_estimates: int | None
    generator: torch.Generator | list[torch.Generator] | None
    attenuation_limit_db: float | None
    mix: float
    max_gain: float
    independent_channels: bool
    window_batch_size: int
    callback_on_step_end: Any
    callback_on_step_end_tensor_inputs: list[str] | tuple[str, ...]
    mel: np.ndarray | torch.Tensor | list | None
    use_vocoder: bool
    dereverb: float
    preset: str | None


class TupleOptions(CallOptions, total=False):
    """Keywords of a call that returns a tuple, without the recording."""

    output_type: str
