"""Between the recording's own sampling rate and the model's."""

import numpy as np
import soxr


def resample(audio: np.ndarray, from_rate: int, to_rate: int, num_samples: int) -> np.ndarray:
    """Resample `(channels, samples)` in linear phase to exactly `(channels, num_samples)`."""
    if from_rate != to_rate:
        audio = soxr.resample(audio.T, from_rate, to_rate, quality="HQ").T
    audio = audio[:, :num_samples]
    return np.pad(audio, ((0, 0), (0, num_samples - audio.shape[1])))


def num_resampled(num_samples: int, from_rate: int, to_rate: int) -> int:
    """Samples at `to_rate` that cover `num_samples` at `from_rate`; at least one."""
    return max(1, -(-num_samples * to_rate // from_rate))


def restore_rate(
    audio: np.ndarray,
    sampling_rate: int,
    model_audio: np.ndarray,
    enhanced: np.ndarray,
    model_rate: int,
    upper_gain: np.ndarray,
    hop_length: int,
) -> np.ndarray:
    """Bring the model's result back to the recording's rate, together with the band the model does not see.

    What the model changed is resampled and added to the recording, so a network that changes nothing gives the
    recording back whatever its rate. What resampling to the model's rate and back loses (the band above the model's,
    or the resampler's edge) the model has not seen: it gets the gain of the upper bands, so that air survives where
    there is speech and hiss goes where there is none.

    Args:
        audio: The recording `(channels, samples)`.
        sampling_rate: Its samples per second.
        model_audio: It as the model saw it, `(channels, samples)` at `model_rate`.
        enhanced: What became of that, same shape.
        model_rate: The model's samples per second.
        upper_gain: Gain `(frames,)` of the upper bands.
        hop_length: Samples at `model_rate` between two values of `upper_gain`.

    Returns:
        `(channels, samples)` at `sampling_rate`.
    """
    num_samples = audio.shape[1]
    if sampling_rate == model_rate:
        return enhanced
    unseen = audio - resample(model_audio, model_rate, sampling_rate, num_samples)
    frames = np.arange(num_samples) * (model_rate / (sampling_rate * hop_length))
    smooth = np.convolve(np.pad(upper_gain, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    restored = audio + resample(enhanced - model_audio, model_rate, sampling_rate, num_samples)
    restored -= unseen * (1 - np.interp(frames, np.arange(len(smooth)), smooth))
    return restored.astype(np.float32)
