"""The composite measures CSIG, CBAK and COVL, and the three distances they are made of, in numpy.

The source is Hu & Loizou, "Evaluation of Objective Quality Measures for Speech Enhancement", IEEE Trans. Audio, Speech,
Language Process. 16(1), 2008. The code does what their `composite.m` does, whose values the literature on
VoiceBank-DEMAND reports (at 16 kHz with wide-band PESQ). It uses Hann frames of 30 ms every 7.5 ms. The signals are in
[-1, 1] and are not rescaled. Other ports differ. The port of CMGAN divides by 32768 before WSS; the floor of WSS then
raises all three ratings (by .17 to .22 for the noisy files of 14 VoiceBank-DEMAND pairs). The port of
facebookresearch/denoiser gives both signals zero mean and equal peaks before segmental SNR.

Each function takes `estimate` and `reference`, float `(samples,)` of equal length. Fewer than 600 samples at 16 kHz
make no frame, and the result is `nan`. The last frame that would fit is left out, as in `composite.m`.
"""

import numpy as np

KEPT_SHARE = 0.95
"""Share of frames that count for LLR and WSS: both are the mean of the smallest distances."""
EPS = np.finfo(np.float64).eps
"""Value that is added to signals (LLR) and powers (segmental SNR) as in `composite.m`, so that digital silence causes
no division by zero."""
SNR_RANGE_DB = (-10.0, 35.0)
NUM_CRITICAL_BANDS = 25
POWER_FLOOR = 1e-10
PEAK_DECIBELS, LOCAL_PEAK_DECIBELS = 20.0, 1.0
"""Klatt's constants. They say how fast a band's weight falls with its distance from the highest and from the next
peak."""


def composite(estimate: np.ndarray, reference: np.ndarray, pesq: float) -> dict[str, float]:
    """Predicted ratings from 1 to 5 of speech distortion, background intrusiveness and overall quality at 16 kHz.

    The ratings are linear regressions on wide-band PESQ, LLR, WSS and segmental SNR, limited to [1, 5]. PESQ is an
    argument, since it takes the most time.

    Returns:
        `{"csig": …, "cbak": …, "covl": …}`. All are `nan` if `pesq` is `nan` or if there is no frame.
    """
    estimate, reference = _without_overflow(estimate, reference)
    distance, slope = llr(estimate, reference), wss(estimate, reference)
    ratings = {
        "csig": 3.093 - 1.029 * distance + 0.603 * pesq - 0.009 * slope,
        "cbak": 1.634 + 0.478 * pesq - 0.007 * slope + 0.063 * segmental_snr(estimate, reference),
        "covl": 1.594 + 0.805 * pesq - 0.512 * distance - 0.007 * slope,
    }
    return {name: float(np.clip(rating, 1, 5)) for name, rating in ratings.items()}


def _without_overflow(estimate: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A pair whose squares are finite. If the reference is more than 120 dB above full scale, both are scaled down by
    the same factor. An estimate that is still 240 dB above it is scaled down alone, which changes no rating."""
    excess = max(0, int(np.frexp(np.abs(reference).max(initial=0))[1]) - 20)
    estimate, reference = np.ldexp(estimate, -excess), np.ldexp(reference, -excess)
    excess = max(0, int(np.frexp(np.abs(estimate).max(initial=0))[1]) - 40)
    return np.ldexp(estimate, -excess), reference


def segmental_snr(estimate: np.ndarray, reference: np.ndarray, sampling_rate: int = 16000) -> float:
    """Mean over frames of the signal-to-noise ratio in dB. Each frame is limited to -10…35; a silent reference frame
    has -10."""
    reference, estimate = (_frames(audio, sampling_rate) for audio in (reference, estimate))
    if len(reference) == 0:
        return float("nan")
    signal, noise = np.square(reference).sum(axis=1), np.square(reference - estimate).sum(axis=1)
    return float(np.clip(10 * np.log10(signal / (noise + EPS) + EPS), *SNR_RANGE_DB).mean())


def llr(estimate: np.ndarray, reference: np.ndarray, sampling_rate: int = 16000) -> float:
    """Log-likelihood ratio of the linear predictors of order 16 (10 below 10 kHz). Equal spectral envelopes give 0.

    The value of a frame is `log(a_est R_ref a_est / a_ref R_ref a_ref)`, with prediction error filters `a` and the
    reference's autocorrelation matrix `R_ref`. The result is the mean of the smallest 95 %. Frames in which the
    reference is digital silence are left out: they have no envelope, and implementations differ there. If there are no
    other frames, the result is `nan`.
    """
    order = 10 if sampling_rate < 10000 else 16
    audible = _frames(reference, sampling_rate).any(axis=1)
    if not audible.any():
        return float("nan")
    frames = [_frames(np.asarray(audio, np.float64) + EPS, sampling_rate)[audible] for audio in (reference, estimate)]
    correlations = [_autocorrelation(part, order) for part in frames]
    lags = np.abs(np.subtract.outer(np.arange(order + 1), np.arange(order + 1)))
    matrices = correlations[0][:, lags]
    lowest = EPS * correlations[0][:, 0]  # of constants and pure tones, only rounding errors remain
    errors = [np.einsum("fi,fij,fj->f", a, matrices, a) for a in map(_error_filters, correlations)]
    ratios = np.maximum(errors[1], lowest) / np.maximum(errors[0], lowest)
    return _mean_of_smallest(np.log(np.maximum(ratios, 1)))


def wss(estimate: np.ndarray, reference: np.ndarray, sampling_rate: int = 16000) -> float:
    """Weighted spectral slope distance (Klatt, "Prediction of perceived phonetic distance from critical-band
    spectra", ICASSP 1982). It is 0 for equal signals.

    The value of a frame is the squared difference of the slopes between 25 critical bands in dB, weighted by how near a
    band is to spectral peaks. The result is the mean of the smallest 95 % of frames.
    """
    levels = [_band_levels(_frames(audio, sampling_rate), sampling_rate) for audio in (reference, estimate)]
    if len(levels[0]) == 0:
        return float("nan")
    weights = (_slope_weights(levels[0]) + _slope_weights(levels[1])) / 2
    squares = np.square(np.diff(levels[0]) - np.diff(levels[1]))
    return _mean_of_smallest((weights * squares).sum(axis=1) / weights.sum(axis=1))


def _frames(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Hann-windowed frames `(frames, 30 ms)`; the window has no zeros at its ends."""
    length = round(0.03 * sampling_rate)
    hop = length // 4
    count = max(0, (len(audio) - length) // hop)
    window = np.hanning(length + 2)[1:-1]
    if count == 0:
        return np.zeros((0, length))
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(audio, np.float64), length)[::hop]
    return frames[:count] * window


def _mean_of_smallest(distances: np.ndarray) -> float:
    kept = max(1, round(len(distances) * KEPT_SHARE))
    return float(np.sort(distances)[:kept].mean())


def _autocorrelation(frames: np.ndarray, order: int) -> np.ndarray:
    """Lags 0…`order` of every frame `(frames, order + 1)`."""
    length = frames.shape[1]
    lags = [np.einsum("fn,fn->f", frames[:, : length - k], frames[:, k:]) for k in range(order + 1)]
    return np.stack(lags, axis=1)


def _error_filters(correlation: np.ndarray) -> np.ndarray:
    """Prediction error filters `(frames, order + 1)` by the Levinson-Durbin recursion. Their first coefficient is 1."""
    filters = np.zeros_like(correlation)
    filters[:, 0] = 1
    error, lowest = correlation[:, 0], EPS * correlation[:, 0]
    for step in range(1, correlation.shape[1]):
        past = filters[:, :step]
        reflection = (-np.einsum("fi,fi->f", past, correlation[:, step:0:-1]) / error).clip(-1, 1)
        filters[:, 1 : step + 1] += reflection[:, None] * past[:, ::-1]
        error = np.maximum(error * (1 - reflection**2), lowest)
    return filters


def _band_levels(frames: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Level of every critical band in dB `(frames, 25)`."""
    n_fft = 1 << (2 * frames.shape[1] - 1).bit_length()
    power = np.square(np.abs(np.fft.rfft(frames, n_fft)))[:, : n_fft // 2]
    energy = power @ _critical_bands(n_fft, sampling_rate).T
    return 10 * np.log10(np.maximum(energy, POWER_FLOOR))


def _critical_bands(n_fft: int, sampling_rate: int) -> np.ndarray:
    """Gaussian filters of equal area `(25, n_fft / 2)`, zero below -30 dB, up to 3.8 kHz.

    Each centre lies one bandwidth above the one before, from 50 Hz.
    """
    bandwidths = np.array(
        [70.0] * 7
        + [
            77.3724,
            86.0056,
            95.3398,
            105.411,
            116.256,
            127.914,
            140.423,
            153.823,
            168.154,
            183.457,
            199.776,
            217.153,
            235.631,
            255.255,
            276.072,
            298.126,
            321.465,
            346.136,
        ]
    )
    centres = 50 + np.cumsum(bandwidths) - bandwidths
    bins_per_hertz = n_fft / sampling_rate
    offsets = np.arange(n_fft // 2) - np.floor(centres * bins_per_hertz)[:, None]
    filters = np.exp(-11 * np.square(offsets / (bandwidths * bins_per_hertz)[:, None]))
    filters *= (bandwidths[0] / bandwidths)[:, None]
    return np.where(filters > np.exp(-30 / (2 * 2.303)), filters, 0)


def _slope_weights(levels: np.ndarray) -> np.ndarray:
    """Klatt's weights of the slopes `(frames, 24)`: large near a frame's highest and near the nearest spectral peak.

    As in `composite.m`, the peak to the right of a rising slope is taken one band below the top.
    """
    rising = np.diff(levels) > 0
    bands = np.arange(NUM_CRITICAL_BANDS - 1)
    summit = np.minimum.accumulate(np.where(rising, NUM_CRITICAL_BANDS - 1, bands)[:, ::-1], axis=1)[:, ::-1] - 1
    crest = np.maximum.accumulate(np.where(rising, bands, -1), axis=1) + 1
    peaks = np.take_along_axis(levels, np.where(rising, summit, crest), axis=1)
    here = levels[:, :-1]
    near_highest = PEAK_DECIBELS / (PEAK_DECIBELS + levels.max(axis=1, keepdims=True) - here)
    return near_highest * LOCAL_PEAK_DECIBELS / (LOCAL_PEAK_DECIBELS + peaks - here)
