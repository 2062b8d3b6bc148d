"""How much of each part of a recording, such as of two talkers, an output holds; and how evenly it keeps their
level."""

import numpy as np

from .measure_recordings import active_frames, decibel, frame_power

FRAME = 2048  # 128 ms at 16 kHz: long enough to tell two voices apart, short enough to follow a gain that pumps
STEP_DB = 3.0


def component_levels_db(audio: np.ndarray, components: list[np.ndarray]) -> list[float]:
    """Level of every component in a recording over that of the component itself, in dB.

    In each frame of 128 ms the recording is the sum, with the smallest squared error, of the components times factors
    not below 0. What the recording holds of a component is the component times these factors; its power is compared
    over the frames in which the component is active, at most 30 dB below its loudest frame. So a component that is
    removed for half of the time has -3 dB, and noise, which is no component, counts for none.

    Args:
        audio: Recording, float `(samples,)`.
        components: Tracks of the same length; their sum is what the recording should hold.

    Returns:
        A level for each component, -120 dB where nothing is left of it.
    """
    whole = len(audio) // FRAME * FRAME
    if whole == 0 or any(len(component) != len(audio) for component in components):
        raise ValueError(f"components must be as long as the recording, {len(audio)} samples, and that {FRAME} or more")
    frames, target = (np.asarray(track, np.float64)[..., :whole] for track in (np.stack(components), audio))
    frames, target = frames.reshape(len(components), -1, FRAME).swapaxes(0, 1), target.reshape(-1, FRAME)
    norms = np.linalg.norm(frames, axis=2)
    floor = 1e-3 * norms.max(axis=0) + 1e-9  # near silence, whose factor would be chance
    basis = frames / np.maximum(norms, floor)[..., None]
    # A little more than 1 on the diagonal, for frames in which two components are nearly the same.
    gram = basis @ basis.swapaxes(1, 2) + 1e-4 * np.eye(len(components))
    held = np.linalg.solve(gram, (basis @ target[..., None])).squeeze(2).clip(0)
    active = norms > norms.max(axis=0) * 10 ** (-30 / 20)
    return [
        decibel(np.square(held[where, index]).sum() / max(np.square(norms[where, index]).sum(), 1e-12))
        for index, where in enumerate(active.T)
    ]


def gain_steps_db(output: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Steps of the level of `output` that `reference` lacks: how far its gain over the reference changes, up or down,
    from one frame of 32 ms to the next, where both frames of the reference are active."""
    active = active_frames(reference)
    gain_db = 10 * np.log10((frame_power(output) + 1e-12) / (frame_power(reference) + 1e-12))
    return np.abs(np.diff(gain_db))[active[1:] & active[:-1]]
