"""`SpeechEnhancementPipeline`: the Diffusers pipeline that reduces the noise in a recording."""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput

from ..mel.vocoding import check_vocoder
from ..models.causal_unet import CausalUNet2DModel
from ..models.removed_settings import without_removed
from ..models.schedulers import check_preset, check_scheduler, try_scheduler
from ..models.trained_settings import record_settings, registers_settings
from ..models.unet import ConditionalUNet2DModel
from .analysis import Analysis
from .call_options import CallOptions, TupleOptions
from .front_end import FrontEnd, setting_parameters
from .inputs import check_source, is_batch, join_batch, split_batch
from .mel_port import GivenMel, MelOutput, RecordingVocoder, join_mels
from .recording import Output, RecordingStream
from .resynthesis import Resynthesis
from .safe_loading import check_folder, fetch_folder
from .sampler import WindowSampler
from .settings import EnhancementSettings, check_sampling_rate
from .survey import Blocks, array_blocks, survey
from .weight_files import check_loaded, variant_to_load
from .windows import WindowLayout

OutputKind = Literal["sound", "mel", "vocoder"]


@dataclass
class SpeechEnhancementOutput(BaseOutput):
    """Output of [`SpeechEnhancementPipeline`].

    Args:
        audios: Enhanced audio in the form and shape of the input: an array, a tensor, or a list of them. For a mel as
            the input, each is `(samples,)`.
        mels: Generated clean mels, which take the place of `audios` with `output_type="mel"`. Each is a tensor
            `(num_mel_bins, frames)`, or `(channels, num_mel_bins, frames)` with independent channels, compressed and
            normalised, on the CPU. With a `mel_layout` it is `(frames, num_mel_bins)` in that layout instead.
    """

    audios: np.ndarray | torch.Tensor | list[np.ndarray] | list[torch.Tensor] | None = None
    mels: torch.Tensor | list[torch.Tensor] | None = None


if TYPE_CHECKING:
    from ..live.enhancer import LiveEnhancer
    from ..live.timing import LiveTiming

    class ArrayOutput(SpeechEnhancementOutput):
        """Output for one array, for type checkers: its audio is an array too."""

        audios: np.ndarray

    class ListOutput(SpeechEnhancementOutput):
        """Output for a list of arrays, for type checkers."""

        audios: list[np.ndarray]


class SpeechEnhancementPipeline(WindowSampler, DiffusionPipeline):
    r"""Diffusers pipeline that reduces the noise in a recording. A diffusion model, conditioned on the noisy mel,
    generates the clean one. The clean mel is then applied to the recording as a bounded spectral gain.

    Every recording is processed in windows on an absolute frame grid, so the result depends neither on the length of
    the recording nor on the batch size. [`~SpeechEnhancementPipeline.stream`] needs memory for a few windows only. A
    checkpoint was trained with the parameters that stand after the components; changing them spoils it
    (`docs/decisions.md`). The network records them. Parameters that are not given come from this record, and another
    value is refused; only `overlap_frames`, `gain_exponent`, `num_views`, `frequency_warp` and `mel_layout` may be
    chosen later.

    Args:
        unet ([`ConditionalUNet2DModel`] or [`CausalUNet2DModel`]): The network; the latter is for live sound.
        scheduler ([`SchedulerMixin`]): Any of [`SCHEDULERS`], made with `from_config(pipe.scheduler.config)`.
        vocoder (`SpeechT5HifiGan` or another of [`VOCODERS`], *optional*): Vocoder that makes sound from mels that have
            no recording.
        sampling_rate (`int`): Samples per second of the model; recordings of any rate are accepted.
        n_fft, win_length, hop_length, num_mel_bins, mel_power, mel_scale, level, min_frequency, max_frequency,
            filter_norm, compression, mel_floor: Arguments of [`MelConfig`].
        window_frames (`int`): Frames of a window.
        overlap_frames (`int`): Frames that two windows share.
        noise_floor_span, noise_floor_block (`int`), with_noise_floor, with_band_coordinate, with_dereverb (`bool`):
            Arguments of [`ConditionConfig`].
        target (`str`), gain_power, residual_scale (`float`): Target of the diffusion, see [`MelTarget`].
        gain_exponent (`float`): Exponent of the gain, see [`spectral_gain`].
        num_views (`int`), frequency_warp (`float`): Number of frequency-warped copies (views) of the recording, and
            the factor of the warp. Estimates cycle through the views. The first view is the recording itself; each
            further view raises all frequencies by this factor once more, see [`MelConfig`]. The network errs
            differently in each view, so the mean of their gains is better than a single one. An output mel uses the
            first view only.
        mel_layout (`str`, *optional*): Name of the layout, one of [`MEL_LAYOUTS`], of input and output mels, which is
            also the vocoder's. `None` is the network's own form, see [`MelPort`].
        self_conditioning (`bool`): Whether the network has one more condition channel that holds its previous estimate
            of the clean sample, zero at the first step (Chen et al., "Analog Bits", arXiv:2208.04202).
        level_rule (`str`): Rule of the level: `"recording"` for one level of the whole recording (see
            [`active_level`]), `"running"` for one that follows the speech (see [`running_level`]).
        remove_offset (`bool`): Whether the offset of each channel (see [`OffsetMeter`]) is subtracted before anything
            is measured. The output keeps it.
    """

    model_cpu_offload_seq = "unet->vocoder"
    _optional_components = ["vocoder"]  # noqa: RUF012 - Diffusers' own is a list

    @registers_settings
    def __init__(
        self,
        unet: ConditionalUNet2DModel | CausalUNet2DModel,
        scheduler,
        vocoder=None,
        sampling_rate: int = 16000,
        n_fft: int = 512,
        win_length: int = 512,
        hop_length: int = 128,
        num_mel_bins: int = 80,
        mel_power: float = 0.3,
        mel_scale: float = 1.0,
        level: float = 0.1,
        min_frequency: float = 0.0,
        max_frequency: float | None = None,
        filter_norm: str | None = None,
        compression: str = "power",
        mel_floor: float = 1e-5,
        window_frames: int = 384,
        overlap_frames: int = 96,
        noise_floor_span: int = 512,
        noise_floor_block: int = 64,
        with_noise_floor: bool = True,
        with_band_coordinate: bool = True,
        target: str = "gain",
        gain_power: float = 2.5,
        residual_scale: float = 0.4,
        gain_exponent: float = 1.0,
        num_views: int = 1,
        frequency_warp: float = 1.12,
        mel_layout: str | None = None,
        self_conditioning: bool = False,
        level_rule: str = "recording",
        remove_offset: bool = False,
        with_dereverb: bool = False,
    ):
        super().__init__()
        front_end = FrontEnd.of(self.config, setting_parameters(SpeechEnhancementPipeline))
        self.mel_config, self.views = front_end.mel_config, front_end.views
        self.condition_config, self.mel_target = front_end.condition_config, front_end.mel_target
        self.mel_port = front_end.mel_port
        self.window_layout = WindowLayout(window_frames, overlap_frames, unet.frame_multiple)
        if vocoder is not None:
            check_vocoder(vocoder, self.mel_port.outer)
        unet = record_settings(unet, dict(self.config))
        self.register_modules(unet=unet, scheduler=scheduler, vocoder=vocoder)

    @overload
    def __call__(
        self,
        audio: np.ndarray,
        sampling_rate: int,
        *,
        output_type: Literal["np"] = "np",
        return_dict: Literal[True] = True,
        **named: Unpack[CallOptions],
    ) -> "ArrayOutput": ...

    @overload
    def __call__(
        self,
        audio: list[np.ndarray],
        sampling_rate: int,
        *,
        output_type: Literal["np"] = "np",
        return_dict: Literal[True] = True,
        **named: Unpack[CallOptions],
    ) -> "ListOutput": ...

    @overload
    def __call__(
        self,
        audio: np.ndarray | torch.Tensor | list | None = None,
        sampling_rate: int | None = None,
        num_inference_steps: int | None = None,
        num_estimates: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        attenuation_limit_db: float | None = None,
        mix: float = 1.0,
        max_gain: float = 1.0,
        independent_channels: bool = False,
        window_batch_size: int = EnhancementSettings.window_batch_size,
        output_type: str = "np",
        return_dict: Literal[True] = True,
        callback_on_step_end=None,
        callback_on_step_end_tensor_inputs: list[str] | tuple[str, ...] = ("latents",),
        mel: np.ndarray | torch.Tensor | list | None = None,
        use_vocoder: bool = False,
        dereverb: float = 0.0,
        preset: str | None = None,
    ) -> SpeechEnhancementOutput: ...

    @overload
    def __call__(
        self,
        audio: np.ndarray | torch.Tensor | list | None = None,
        sampling_rate: int | None = None,
        *,
        return_dict: Literal[False],
        **named: Unpack[TupleOptions],
    ) -> tuple[Any, ...]: ...

    @torch.no_grad()
    def __call__(
        self,
        audio: np.ndarray | torch.Tensor | list | None = None,
        sampling_rate: int | None = None,
        num_inference_steps: int | None = None,
        num_estimates: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        attenuation_limit_db: float | None = None,
        mix: float = 1.0,
        max_gain: float = 1.0,
        independent_channels: bool = False,
        window_batch_size: int = EnhancementSettings.window_batch_size,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end=None,
        callback_on_step_end_tensor_inputs: list[str] | tuple[str, ...] = ("latents",),
        mel: np.ndarray | torch.Tensor | list | None = None,
        use_vocoder: bool = False,
        dereverb: float = 0.0,
        preset: str | None = None,
    ) -> SpeechEnhancementOutput | tuple:
        r"""Enhance one recording or a batch, or mels that have no recording.

        Args:
            audio (`np.ndarray`, `torch.Tensor` or a list of either):
                Floating-point samples, full scale ±1: `(samples,)`, `(channels, samples)`, a batch
                `(batch, channels, samples)`, or a list of recordings of any lengths.
            sampling_rate (`int`): Samples per second of `audio`; the output has the same.
            num_inference_steps (`int`, *optional*): Steps of the scheduler. One step is the model's direct estimate.
                The default is that of the preset.
            num_estimates (`int`, *optional*): Number of clean mels that are generated and averaged, each from noise of
                its own. They cycle through the pipeline's views (`num_views`). After the first cycle, the windows begin
                some frames earlier, so that the network's patches fall on other frames. The default is that of the
                preset.
            generator (`torch.Generator` or one per recording): Source of the noise. Without one, the result is that of
                `torch.Generator().manual_seed(0)`, so the same call gives the same bytes.
            attenuation_limit_db (`float`, *optional*): Largest attenuation in dB of any band.
            mix (`float`): Share of the enhanced signal in the output, from 0 (the input) to 1.
            max_gain (`float`): Upper bound of the gain; 1 means that nothing is ever amplified.
            independent_channels (`bool`): Whether to enhance every channel as a recording of its own, for channels that
                hold different talkers. Otherwise the channels share one gain, so the stereo image stays.
            window_batch_size (`int`): Windows per forward pass. It changes speed and memory, not the result.
            output_type (`str`): Type of the output: `"np"`, `"pt"` or `"mel"` (see [`SpeechEnhancementOutput`]).
            return_dict (`bool`): Whether to return a [`SpeechEnhancementOutput`] instead of a tuple.
            callback_on_step_end (`Callable`, *optional*): Function that is called as
                `callback(pipe, step, timestep, tensors)` after every step of every batch of windows. `step` counts on
                from batch to batch. To stop, raise in it, or see [`~SpeechEnhancementPipeline.interrupt`].
            callback_on_step_end_tensor_inputs (`list[str]`): Names of the tensors that the callback gets in `tensors`:
                `latents`, `condition` and `clean_estimate` (of this step). The callback may return a dict of tensors
                that replace them.
            mel (`np.ndarray`, `torch.Tensor` or a list of either): Mel that is given instead of `audio`:
                `(frames, num_mel_bins)` in the `mel_layout`, or `(num_mel_bins, frames)` in the network's own form (see
                [`MelPort`]), a batch of them, or a list of any lengths. The output is a mel with `output_type="mel"`,
                otherwise sound made by the vocoder.
            use_vocoder (`bool`): Whether the vocoder makes new sound from the clean mel of a recording, instead of
                turning down the noise in it. Phase and fine structure are then not the recording's.
            dereverb (`float`): Amount of late reverberation to remove: 0 keeps the room, 1 asks for the direct sound
                and the first 50 ms. It needs a model that was trained for it (`with_dereverb`).
            preset (`str`, *optional*): Name of steps and estimates, one of [`PRESETS`]: `"fast"` or `"balanced"`. Steps
                or estimates that are given as well replace the preset's. A preset needs the scheduler that it is made
                for, and changes nothing for later calls. Without one, steps and estimates are those of `"balanced"`.

        Returns:
            [`SpeechEnhancementOutput`], or a tuple with its one field. Audio is float32. Audio made from a mel has
            `config.sampling_rate` samples per second, and for every frame `hop_length` samples of the `mel_layout`.

        Raises:
            ValueError, TypeError: for an argument out of range; the message names it and the value received. Also if
                the output is not finite.
        """
        # 1. Check inputs
        settings = EnhancementSettings.of(
            num_inference_steps=num_inference_steps,
            num_estimates=num_estimates,
            attenuation_limit_db=attenuation_limit_db,
            mix=mix,
            max_gain=max_gain,
            independent_channels=independent_channels,
            window_batch_size=window_batch_size,
            dereverb=dereverb,
            preset=preset,
        )
        self.check_inputs(settings, callback_on_step_end_tensor_inputs)
        check_source(
            audio,
            sampling_rate,
            mel,
            mel_port=self.mel_port,
            output_type=output_type,
            use_vocoder=use_vocoder,
            has_vocoder=self.vocoder is not None,
            settings=settings,
        )
        kind: OutputKind = "mel" if output_type == "mel" else "vocoder" if use_vocoder or mel is not None else "sound"

        # 2. Prepare: length and level of every recording, and the noise of each
        if mel is None:
            assert sampling_rate is not None  # `check_source` refuses sound without one
            recordings = [functools.partial(array_blocks, item, sampling_rate) for item in split_batch(audio)]
            streams = [self.open_stream(item, sampling_rate, settings, kind) for item in recordings]
        else:
            streams = [self.open_mel(item, settings, kind) for item in (mel if is_batch(mel) else [mel])]
        seeds = self.draw_seeds(generator, len(streams))

        # 3. Denoise window by window, and decode the frames that are complete
        pieces = [[] for _ in streams]
        for number, piece in self.process(
            streams, seeds, settings, callback_on_step_end, callback_on_step_end_tensor_inputs
        ):
            pieces[number].append(piece)
        self.maybe_free_model_hooks()

        # 4. Give the output the form of the input
        if output_type == "mel":
            mels = [whole if independent_channels else whole[0] for (whole,) in pieces]
            output = SpeechEnhancementOutput(mels=join_mels(mels, mel, audio))
        elif mel is not None:
            sounds = [whole[0] if output_type == "pt" else whole[0].numpy() for (whole,) in pieces]
            output = SpeechEnhancementOutput(audios=join_mels(sounds, mel, audio))
        else:
            sounds = [np.concatenate(item, axis=1) for item in pieces]
            output = SpeechEnhancementOutput(audios=join_batch(sounds, audio, output_type))
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def stream(
        self,
        open_blocks: Blocks,
        sampling_rate: int,
        generator: torch.Generator | None = None,
        callback_on_step_end=None,
        callback_on_step_end_tensor_inputs: list[str] | tuple[str, ...] = ("latents",),
        **settings,
    ) -> Iterator[np.ndarray]:
        r"""Enhance a recording of any length in memory that does not grow with it.

        Args:
            open_blocks (`Callable`): Function that returns an iterable of float32 blocks `(channels, samples)` of any
                lengths. It is called twice, and each time begins to read the recording from its beginning.
            sampling_rate (`int`): Samples per second.
            generator (`torch.Generator`): Source of the noise, as in a call of the pipeline.
            callback_on_step_end (`Callable`, *optional*): Function as in a call of the pipeline.
            callback_on_step_end_tensor_inputs (`list[str]`): Names as in a call of the pipeline.
            settings: Settings of a call: `num_inference_steps`, `num_estimates`, `attenuation_limit_db`, `mix`,
                `max_gain`, `independent_channels`, `window_batch_size`, `dereverb` and `preset`.

        Yields:
            float32 blocks `(channels, samples)` of the enhanced recording. Together they have as many samples as the
            recording, and equal the output of a call with the whole recording.

        Raises:
            ValueError, TypeError: as a call of the pipeline; also if the second reading differs in length.
        """
        settings = EnhancementSettings.of(**settings)
        check_sampling_rate(sampling_rate)
        self.check_inputs(settings, callback_on_step_end_tensor_inputs)
        (seed,) = self.draw_seeds(generator, 1)
        stream = self.open_stream(open_blocks, sampling_rate, settings)
        for _, block in self.process(
            [stream], [seed], settings, callback_on_step_end, callback_on_step_end_tensor_inputs
        ):
            yield np.asarray(block)
        self.maybe_free_model_hooks()

    def live(
        self,
        sampling_rate: int,
        latency: "str | LiveTiming | None" = None,
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> "LiveEnhancer":
        r"""Begin to enhance sound while it is still going on, such as a telephone call.

        Args:
            sampling_rate (`int`): Samples per second of the blocks to come.
            latency (`str` or [`LiveTiming`], *optional*): Name of one of [`LATENCIES`], `"low"` or `"quality"`, or a
                timing of your own. The default is `"low"` for a [`CausalUNet2DModel`], which allows no other name, and
                `"quality"` for other networks.
            generator (`torch.Generator`): Source of the noise, as in a call of the pipeline.
            settings: Settings of a call: `num_inference_steps` and `num_estimates`, which are 1 without a `preset`, and
                `attenuation_limit_db`, `mix`, `max_gain`, `dereverb` and `preset`. All channels share one gain.

        Returns:
            A [`LiveEnhancer`]. `live.process(block)` returns as many samples as `block` has, `live.latency` samples
            late.

        Raises:
            ValueError, TypeError: as a call of the pipeline.
        """
        from ..live.enhancer import LiveEnhancer

        (seed,) = self.draw_seeds(generator, 1)
        return LiveEnhancer(self, sampling_rate, latency, seed, **settings)

    def check_inputs(self, settings: EnhancementSettings, callback_on_step_end_tensor_inputs):
        """Raise for a request that this model or its scheduler cannot fulfil. The message names the argument and the
        value received."""
        num_inference_steps = settings.num_inference_steps
        num_train_timesteps = self.scheduler.config.num_train_timesteps
        if num_inference_steps > num_train_timesteps:
            raise ValueError(f"`num_inference_steps` must be at most {num_train_timesteps}, got {num_inference_steps}")
        if settings.dereverb > 0 and not self.config.with_dereverb:
            raise ValueError(
                f"this model was not trained to remove reverberation: `dereverb` must be 0, got {settings.dereverb}"
            )
        unknown = set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(
                f"`callback_on_step_end_tensor_inputs` must be among {self._callback_tensor_inputs}, got "
                f"{sorted(unknown)}"
            )
        num_channels = self.condition_config.num_channels + self.config.self_conditioning
        if self.unet.condition_channels != num_channels:
            raise ValueError(
                f"the network expects {self.unet.condition_channels} condition channels, the pipeline has "
                f"{num_channels}"
            )
        check_scheduler(self.scheduler)
        if settings.preset is not None:
            check_preset(settings.preset, self.scheduler)
        try_scheduler(self.scheduler, num_inference_steps)

    @staticmethod
    def draw_seeds(generator, num_recordings: int) -> list[int]:
        """Draw one seed per recording. `generator` is one generator, a list with one for each recording, or `None` for
        new ones of seed 0."""
        if isinstance(generator, list) and len(generator) != num_recordings:
            raise ValueError(f"`generator` is a list of {len(generator)} for {num_recordings} recordings")
        if generator is None:
            generators = [torch.Generator().manual_seed(0) for _ in range(num_recordings)]
        else:
            generators = generator if isinstance(generator, list) else [generator] * num_recordings
        for item in generators:
            if not isinstance(item, torch.Generator):
                raise TypeError(f"`generator` must be a torch.Generator or a list of them, got {item!r}")
        return [
            int(torch.randint(2**62, (1,), generator=item, device=item.device, dtype=torch.int64))
            for item in generators
        ]

    def open_stream(
        self, open_blocks: Blocks, sampling_rate: int, settings: EnhancementSettings, kind: OutputKind = "sound"
    ) -> RecordingStream:
        """Survey a recording, and begin to read it again.

        Args:
            open_blocks: Function as in [`~SpeechEnhancementPipeline.stream`].
            sampling_rate: Samples per second.
            settings: Settings of the request.
            kind: Kind of the output: `"sound"` is the recording with the noise turned down, `"mel"` the clean mel, and
                `"vocoder"` new sound made from the clean mel.
        """
        facts = survey(
            open_blocks,
            int(sampling_rate),
            self.mel_config,
            settings.independent_channels,
            level_rule=self.config.level_rule,
            remove_offset=self.config.remove_offset,
        )
        views = self.views[: settings.num_estimates if kind == "sound" else 1]
        analysis = Analysis(open_blocks, facts, views, self._execution_device)
        if kind == "sound":
            output = Resynthesis(analysis, settings, self.config.gain_exponent)
        elif kind == "mel":
            output = MelOutput(analysis, self.mel_port.write)
        else:
            output = MelOutput(
                analysis, RecordingVocoder(self.mel_port, self.vocoder, facts.sampling_rate, facts.num_samples)
            )
        return self._stream_of(analysis, output, settings)

    def open_mel(self, mel, settings: EnhancementSettings, kind: OutputKind) -> RecordingStream:
        """Open the stream of a mel that has no recording. [`MelPort`] says in which form the mel is."""
        analysis = self.mel_port.read(mel, self._execution_device)
        finish = self.mel_port.write if kind == "mel" else functools.partial(self.mel_port.sound, self.vocoder)
        return self._stream_of(analysis, MelOutput(analysis, finish), settings)

    def _stream_of(self, analysis: Analysis | GivenMel, output: Output, settings: EnhancementSettings):
        return RecordingStream(
            analysis,
            output,
            layout=self.window_layout,
            condition_config=self.condition_config,
            mel_target=self.mel_target,
            settings=settings,
        )

    @classmethod
    def extract_init_dict(cls, config_dict, **kwargs):
        """Do as Diffusers does, but first drop settings that no longer exist if they change nothing, and refuse
        others."""
        return super().extract_init_dict(without_removed(config_dict), **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Self:
        """Load a pipeline from a folder or the Hub. Weights are safetensors only. A pickle is refused, and so is a
        folder that names other classes than ours.

        See [`~DiffusionPipeline.from_pretrained`] for the arguments. `variant="fp16"` also loads plain files that are
        already in half precision. The network computes in single precision, unless `dtype` names another.
        """
        if "torch_dtype" not in kwargs:  # files may be in half precision; a vocoder would stay in it
            kwargs.setdefault("dtype", torch.float32)
        if kwargs.setdefault("use_safetensors", True) is not True:
            raise ValueError("weights are loaded from safetensors only: `use_safetensors` must be True")
        if kwargs.get("variant") is not None:
            if not os.path.isdir(pretrained_model_name_or_path):
                pretrained_model_name_or_path = cls.download(pretrained_model_name_or_path, **kwargs)
            kwargs["variant"] = variant_to_load(Path(pretrained_model_name_or_path), kwargs["variant"])
        if os.path.isdir(pretrained_model_name_or_path):
            check_folder(cls, os.fspath(pretrained_model_name_or_path), **kwargs)
        pipeline = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        for name in pipeline.components.keys() - kwargs.keys():
            check_loaded(getattr(pipeline, name), f"{pretrained_model_name_or_path}/{name}")
        return pipeline

    @classmethod
    def download(cls, pretrained_model_name, **kwargs) -> str:
        """Fetch a pipeline repository's configuration and safetensors into the cache. Returns the folder.

        The method of Diffusers would look for the code of our classes in the repository, but the installed package has
        it.
        """
        folder = fetch_folder(pretrained_model_name, **kwargs)
        check_folder(cls, folder, **kwargs)
        return folder
