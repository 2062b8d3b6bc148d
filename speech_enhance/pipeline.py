"""`SpeechEnhancementPipeline`: a noisy recording in, the same recording with the noise turned down out."""

import copy
import inspect
import itertools
import os
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput

from .conditioning import NUM_CONDITION_CHANNELS, build_condition
from .inputs import check_audio, is_batch, join_batch, split_batch
from .mel import MelConfig, active_level, istft, level_scale, mel_spectrogram, stft
from .reconstruction import spectral_gain
from .resampling import num_resampled, resample, restore_rate
from .safe_loading import check_folder, fetch_folder
from .schedulers import PRESETS, check_scheduler
from .targets import MelTarget
from .unet import ConditionalUNet2DModel
from .windows import blend_windows, cut_window, step_generator, window_noise, window_starts

UPPER_BAND = 0.625  # of the band that recording and model share: 5 to 8 kHz


@dataclass
class SpeechEnhancementOutput(BaseOutput):
    """Output of [`SpeechEnhancementPipeline`].

    Args:
        audios: The enhanced audio, of the form and shape of the input: an array, a tensor, or a list of them.
        mels: With `output_type="mel"`, instead of `audios`: per recording the generated clean mel
            `(num_mel_bins, frames)`, compressed and normalised, as a tensor on the CPU.
    """

    audios: np.ndarray | torch.Tensor | list | None = None
    mels: torch.Tensor | list[torch.Tensor] | None = None


@dataclass
class _Recording:
    """One recording on its way through the pipeline; `spectrum` is that of `model_audio` at the model's level."""

    audio: np.ndarray
    model_audio: np.ndarray
    scale: torch.Tensor
    spectrum: torch.Tensor
    noisy_mel: torch.Tensor
    condition: torch.Tensor
    seed: int


class SpeechEnhancementPipeline(DiffusionPipeline):
    r"""Enhance noisy speech: a diffusion model, conditioned on the noisy mel, generates the clean one, and what it
    says is applied to the recording as a bounded spectral gain.

    Every recording is processed by windows on an absolute frame grid, so memory grows slowly with its length and
    batch size changes nothing. The parameters after the components are what a checkpoint was trained with; changing
    them spoils it (`docs/decisions.md`).

    Args:
        unet ([`ConditionalUNet2DModel`]): The network.
        scheduler ([`SchedulerMixin`]): Any of [`SCHEDULERS`], made with `from_config(pipe.scheduler.config)`.
        sampling_rate (`int`): The model's samples per second; recordings of any rate are accepted.
        n_fft, win_length, hop_length, num_mel_bins, mel_power, mel_scale, level: See [`MelConfig`].
        window_frames (`int`): Frames of a window.
        overlap_frames (`int`): Frames that two windows share.
        noise_floor_span, noise_floor_block (`int`): Frames, see [`noise_floor`].
        target (`str`), gain_power, residual_scale (`float`): What the diffusion runs on, see [`MelTarget`].
        gain_exponent (`float`): See [`spectral_gain`].
        initial_noise_scale (`float`): Standard deviation of the noise that sampling starts from: 1 for a diffusion
            model, 0 for a plain regressor, a network that was trained at the last timestep without noise and has one
            step only.
    """

    model_cpu_offload_seq = "unet"
    _callback_tensor_inputs = ("latents", "condition")

    def __init__(
        self,
        unet: ConditionalUNet2DModel,
        scheduler,
        sampling_rate: int = 16000,
        n_fft: int = 512,
        win_length: int = 512,
        hop_length: int = 128,
        num_mel_bins: int = 80,
        mel_power: float = 0.3,
        mel_scale: float = 1.0,
        level: float = 0.1,
        window_frames: int = 384,
        overlap_frames: int = 96,
        noise_floor_span: int = 512,
        noise_floor_block: int = 64,
        target: str = "gain",
        gain_power: float = 2.5,
        residual_scale: float = 0.4,
        gain_exponent: float = 1.0,
        initial_noise_scale: float = 1.0,
    ):
        super().__init__()
        stride = window_frames - overlap_frames
        if not 0 <= 2 * overlap_frames <= window_frames or stride % unet.frame_multiple:
            raise ValueError(
                "`overlap_frames` must be at most half of `window_frames` and their difference a multiple of "
                f"{unet.frame_multiple} (patches and levels of the network), got {overlap_frames} and {window_frames}"
            )
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(
            sampling_rate=sampling_rate,
            n_fft=n_fft,
            win_length=win_length,
            hop_length=hop_length,
            num_mel_bins=num_mel_bins,
            mel_power=mel_power,
            mel_scale=mel_scale,
            level=level,
            window_frames=window_frames,
            overlap_frames=overlap_frames,
            noise_floor_span=noise_floor_span,
            noise_floor_block=noise_floor_block,
            target=target,
            gain_power=gain_power,
            residual_scale=residual_scale,
            gain_exponent=gain_exponent,
            initial_noise_scale=initial_noise_scale,
        )
        self.mel_config = MelConfig(
            sampling_rate, n_fft, win_length, hop_length, num_mel_bins, mel_power, mel_scale, level
        )
        self.mel_target = MelTarget(target, gain_power, residual_scale)

    @torch.no_grad()
    def __call__(
        self,
        audio: np.ndarray | torch.Tensor | list,
        sampling_rate: int | None = None,
        num_inference_steps: int = PRESETS["balanced"].num_inference_steps,
        num_estimates: int = PRESETS["balanced"].num_estimates,
        generator: torch.Generator | list[torch.Generator] | None = None,
        attenuation_limit_db: float | None = None,
        mix: float = 1.0,
        max_gain: float = 1.0,
        window_batch_size: int = 4,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end=None,
        callback_on_step_end_tensor_inputs: list[str] | tuple[str, ...] = ("latents",),
    ) -> SpeechEnhancementOutput | tuple:
        r"""Enhance one recording or a batch.

        Args:
            audio (`np.ndarray`, `torch.Tensor` or a list of either):
                Floating-point samples, full scale ±1: `(samples,)`, `(channels, samples)`, a batch
                `(batch, channels, samples)`, or a list of recordings of any lengths. Channels share one gain, so the
                stereo image stays.
            sampling_rate (`int`): Samples per second of `audio`; the output has the same.
            num_inference_steps (`int`): Steps of the scheduler. One step is the model's direct estimate.
            num_estimates (`int`): Clean mels that are generated, each from noise of its own, and averaged.
            generator (`torch.Generator` or one per recording): Source of the noise. Without one the result is that of
                `torch.Generator().manual_seed(0)`: the same call gives the same bytes.
            attenuation_limit_db (`float`, *optional*): No band is turned down by more than this.
            mix (`float`): Share of the enhanced signal in the output, from 0 (the input) to 1.
            max_gain (`float`): Upper bound of the gain; 1 means that nothing is ever amplified.
            window_batch_size (`int`): Windows per forward pass: speed and memory, not the result.
            output_type (`str`): `"np"`, `"pt"` or `"mel"` (see [`SpeechEnhancementOutput`]).
            return_dict (`bool`): Return a [`SpeechEnhancementOutput`] instead of a tuple.
            callback_on_step_end (`Callable`, *optional*): Called as `callback(pipe, step, timestep, tensors)` after
                every step of every batch of windows, with `step` counting through. Raise in it to stop.
            callback_on_step_end_tensor_inputs (`list[str]`): Which of `latents` and `condition` the callback gets in
                `tensors`; the ones it returns in a dict replace them.

        Returns:
            [`SpeechEnhancementOutput`], or a tuple with its one field. Audio is float32.

        Raises:
            ValueError, TypeError: for an argument out of range, named with the value received.
        """
        # 1. Check inputs
        self.check_inputs(
            audio, sampling_rate, num_inference_steps, num_estimates, attenuation_limit_db, mix, max_gain,
            window_batch_size, output_type, callback_on_step_end_tensor_inputs,
        )  # fmt: skip
        recordings = split_batch(audio)
        seeds = self.draw_seeds(generator, len(recordings))

        # 2. Analyse: level, spectrum, noisy mel, condition
        recordings = [self.analyse(item, sampling_rate, seed) for item, seed in zip(recordings, seeds, strict=True)]

        # 3. Generate the clean mel, window by window
        clean_mels = self.generate(
            recordings, num_inference_steps, num_estimates, window_batch_size, callback_on_step_end,
            callback_on_step_end_tensor_inputs,
        )  # fmt: skip
        self.maybe_free_model_hooks()

        # 4. Back to sound
        if output_type == "mel":
            mels = [mel.cpu() for mel in clean_mels]
            output = SpeechEnhancementOutput(mels=mels if is_batch(audio) else mels[0])
        else:
            min_gain = 0.0 if attenuation_limit_db is None else 10 ** (-attenuation_limit_db / 20)
            enhanced = [
                self.resynthesise(recording, clean_mel, sampling_rate, min_gain, max_gain, mix)
                for recording, clean_mel in zip(recordings, clean_mels, strict=True)
            ]
            output = SpeechEnhancementOutput(audios=join_batch(enhanced, audio, output_type))
        return output if return_dict else output.to_tuple()

    def check_inputs(
        self, audio, sampling_rate, num_inference_steps, num_estimates, attenuation_limit_db, mix, max_gain,
        window_batch_size, output_type, callback_on_step_end_tensor_inputs,
    ):  # fmt: skip
        """Raise for what cannot be enhanced, naming the argument and the value received."""
        if not isinstance(sampling_rate, (int, np.integer)) or not 1000 <= sampling_rate <= 768000:
            raise ValueError(
                f"`sampling_rate` must be the samples per second of `audio` (1000 to 768000), got {sampling_rate!r}"
            )
        counts = {
            "num_inference_steps": num_inference_steps,
            "num_estimates": num_estimates,
            "window_batch_size": window_batch_size,
        }
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}")
        num_train_timesteps = self.scheduler.config.num_train_timesteps
        if num_inference_steps > num_train_timesteps:
            raise ValueError(f"`num_inference_steps` must be at most {num_train_timesteps}, got {num_inference_steps}")
        if self.config.initial_noise_scale == 0 and num_inference_steps > 1:
            raise ValueError(f"this model is a regressor: `num_inference_steps` must be 1, got {num_inference_steps}")
        if attenuation_limit_db is not None and not attenuation_limit_db >= 0:
            raise ValueError(f"`attenuation_limit_db` must be at least 0 dB, got {attenuation_limit_db!r}")
        if not 0 <= mix <= 1:
            raise ValueError(f"`mix` must be between 0 and 1, got {mix!r}")
        if not 1 <= max_gain < float("inf"):
            raise ValueError(f"`max_gain` must be at least 1 and finite, got {max_gain!r}")
        if output_type not in ("np", "pt", "mel"):
            raise ValueError(f'`output_type` must be "np", "pt" or "mel", got {output_type!r}')
        unknown = set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(
                f"`callback_on_step_end_tensor_inputs` must be among {self._callback_tensor_inputs}, got {sorted(unknown)}"
            )
        if self.unet.condition_channels != NUM_CONDITION_CHANNELS:
            raise ValueError(
                f"the network expects {self.unet.condition_channels} condition channels, "
                f"the pipeline has {NUM_CONDITION_CHANNELS}"
            )
        check_scheduler(self.scheduler)
        check_audio(audio)

    @staticmethod
    def draw_seeds(generator, num_recordings: int) -> list[int]:
        """One seed per recording from `generator`: a generator, a list with one for each, or `None` for
        fresh ones of seed 0."""
        if isinstance(generator, list) and len(generator) != num_recordings:
            raise ValueError(f"`generator` is a list of {len(generator)} for {num_recordings} recordings")
        if generator is None:
            generators = [torch.Generator().manual_seed(0) for _ in range(num_recordings)]
        else:
            generators = generator if isinstance(generator, list) else [generator] * num_recordings
        return [
            int(torch.randint(2**62, (1,), generator=item, device=item.device, dtype=torch.int64))
            for item in generators
        ]

    def analyse(self, audio: np.ndarray, sampling_rate: int, seed: int) -> _Recording:
        """Everything the network and the resynthesis need of a recording `(channels, samples)`."""
        config = self.mel_config
        num_samples = num_resampled(audio.shape[1], sampling_rate, config.sampling_rate)
        model_audio = resample(audio, sampling_rate, config.sampling_rate, num_samples)
        waveform = torch.from_numpy(np.ascontiguousarray(model_audio)).to(self._execution_device)
        scale = level_scale(active_level(waveform, config.sampling_rate), config)
        spectrum = stft(waveform * scale, config)
        # RMS over channels: a sum of them would cancel what is out of phase
        magnitude = spectrum.abs().square().mean(dim=0, keepdim=True).sqrt()
        noisy_mel = mel_spectrogram(magnitude, config)
        condition = build_condition(noisy_mel, self.config.noise_floor_span, self.config.noise_floor_block)
        return _Recording(audio, model_audio, scale, spectrum, noisy_mel, condition[0], seed)

    def prepare_latents(self, seed: int, start: int) -> torch.Tensor:
        """Initial noise `(1, num_mel_bins, window_frames)` of the window that starts at frame `start`."""
        noise = window_noise(seed, start, self.config.window_frames, self.config.num_mel_bins)
        return self.config.initial_noise_scale * noise[None].to(self._execution_device)

    def generate(
        self, recordings: list[_Recording], num_inference_steps: int, num_estimates: int, window_batch_size: int,
        callback, callback_inputs,
    ) -> list[torch.Tensor]:  # fmt: skip
        """The clean mel `(num_mel_bins, frames)` of every recording, the mean of `num_estimates`."""
        window_frames, overlap_frames = self.config.window_frames, self.config.overlap_frames
        starts = [window_starts(item.condition.shape[-1], window_frames, overlap_frames) for item in recordings]
        windows = [
            (number, index, recording.seed + estimate)  # every estimate has noise of its own
            for number, recording in enumerate(recordings)
            for index in range(len(starts[number]))
            for estimate in range(num_estimates)
        ]
        batches = [windows[i : i + window_batch_size] for i in range(0, len(windows), window_batch_size)]
        num_evaluations = len(self.prepare_scheduler(num_inference_steps).timesteps)
        samples = [[0.0] * len(item) for item in starts]
        with self.progress_bar(total=num_evaluations * len(batches)) as progress_bar:
            after_step = self.step_callback(progress_bar, callback, callback_inputs)
            for batch in batches:
                latents = torch.stack([self.prepare_latents(seed, starts[n][index]) for n, index, seed in batch])
                condition = torch.stack(
                    [cut_window(recordings[n].condition, starts[n][index], window_frames) for n, index, _ in batch]
                )
                generators = [step_generator(seed, index) for _, index, seed in batch]
                denoised = self.denoise(latents, condition, generators, num_inference_steps, after_step)
                for (n, index, _), sample in zip(batch, denoised, strict=True):
                    samples[n][index] = samples[n][index] + sample[0] / num_estimates
        return [self.clean_mel(recording, item) for recording, item in zip(recordings, samples, strict=True)]

    def step_callback(self, progress_bar, callback, callback_inputs):
        """What happens after every step: progress, and the user's callback, which may replace the tensors."""
        steps = itertools.count()

        def after_step(timestep, latents, condition):
            step = next(steps)
            progress_bar.update()
            if callback is None:
                return latents, condition
            tensors = {"latents": latents, "condition": condition}
            replaced = callback(self, step, timestep, {name: tensors[name] for name in callback_inputs}) or {}
            return replaced.get("latents", latents), replaced.get("condition", condition)

        return after_step

    def prepare_scheduler(self, num_inference_steps: int):
        """A copy of the scheduler set to `num_inference_steps`: its steps are state that no two requests may share."""
        scheduler = copy.deepcopy(self.scheduler)
        scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        return scheduler

    def denoise(self, latents, condition, generators, num_inference_steps: int, after_step) -> torch.Tensor:
        """Run the scheduler over one batch of windows `(windows, 1, num_mel_bins, window_frames)`."""
        scheduler = self.prepare_scheduler(num_inference_steps)
        takes_generator = "generator" in inspect.signature(scheduler.step).parameters
        step_kwargs = {"generator": generators} if takes_generator else {}
        latents = latents * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            model_input = scheduler.scale_model_input(latents, timestep).to(self.unet.dtype)
            prediction = self.unet(model_input, timestep, condition.to(self.unet.dtype), return_dict=False)[0]
            latents = scheduler.step(prediction.float(), timestep, latents, **step_kwargs, return_dict=False)[0]
            latents, condition = after_step(timestep, latents, condition)
        return latents

    def clean_mel(self, recording: _Recording, samples: list[torch.Tensor]) -> torch.Tensor:
        """What the samples of a recording's windows, blended, stand for: `(num_mel_bins, frames)`, never below silence."""
        num_frames = recording.noisy_mel.shape[-1]
        sample = blend_windows(samples, num_frames, self.config.overlap_frames)
        return self.mel_target.decode(sample, recording.noisy_mel[0])

    def resynthesise(
        self, recording: _Recording, clean_mel: torch.Tensor, sampling_rate: int, min_gain: float, max_gain: float,
        mix: float,
    ) -> np.ndarray:  # fmt: skip
        """The enhanced recording `(channels, samples)` at its own sampling rate."""
        config = self.mel_config
        gain = spectral_gain(
            clean_mel[None], recording.noisy_mel, config, min_gain, max_gain, self.config.gain_exponent
        )
        num_samples = recording.model_audio.shape[1]
        enhanced = istft(recording.spectrum * gain, num_samples, config) / recording.scale
        top = min(sampling_rate, config.sampling_rate) / config.sampling_rate * (config.n_fft // 2)
        upper = slice(round(UPPER_BAND * top), max(round(top), 1))
        restored = restore_rate(
            recording.audio,
            sampling_rate,
            recording.model_audio,
            enhanced.cpu().numpy(),
            config.sampling_rate,
            gain[0, upper].mean(dim=0).cpu().numpy(),
            config.hop_length,
        )
        return restored if mix == 1 else mix * restored + (1 - mix) * recording.audio

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """Load a pipeline from a folder or the Hub; safetensors only, a pickle is refused, and so is a folder that names
        other classes than ours.

        See [`~DiffusionPipeline.from_pretrained`] for the arguments.
        """
        if kwargs.setdefault("use_safetensors", True) is not True:
            raise ValueError("weights are loaded from safetensors only: `use_safetensors` must be True")
        if os.path.isdir(pretrained_model_name_or_path):
            check_folder(pretrained_model_name_or_path, kwargs.get("variant"), passed=tuple(kwargs))
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def download(cls, pretrained_model_name, **kwargs) -> str:
        """Fetch a pipeline repository's configuration and safetensors into the cache; returns the folder.

        Diffusers' own would look for the code of our classes in the repository, which the installed package has.
        """
        folder = fetch_folder(pretrained_model_name, **kwargs)
        check_folder(folder, kwargs.get("variant"), passed=tuple(kwargs))
        return folder
