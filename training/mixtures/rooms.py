"""Simulated rooms: how large one is, and its impulse responses with a reverberation time that holds."""

import numpy as np

from .channels import room_impulse_responses, with_reverberation_time

SMALLEST, LARGEST = np.array([3.5, 3.0, 2.4]), np.array([10.0, 8.0, 4.0])
SHORTEST_DECAY, LONGEST_DECAY = 0.2, 1.2
LONGEST_DISTANCE = 6.0


def simulate_room(
    rng: np.random.Generator, sampling_rate: int, rt60: float, distance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random room with a talker and a noise.

    Args:
        rng: Generator that draws size and places.
        sampling_rate: Rate of the responses.
        rt60: Reverberation time in seconds, 0.2 to 1.2.
        distance: Metres from talker to microphone, up to 6.

    Returns:
        Length, width and height in metres; impulse response of the talker, and of a noise somewhere in the room. Both
        are float32 `(taps,)`, begin with their direct path, a sample of 1, and have the reverberation time `rt60`.
    """
    size = room_size(rng, rt60, distance)
    responses = room_impulse_responses(rng, sampling_rate, (rt60, rt60), (distance, distance), size, other_sources=1)
    talker, noise = (with_reverberation_time(response, sampling_rate, rt60) for response in responses)
    return size, talker, noise


def room_size(rng: np.random.Generator, rt60: float, distance: float) -> np.ndarray:
    """Length, width and height in metres. Rooms that reverberate for long are large, and `distance` fits in."""
    share = (rt60 - SHORTEST_DECAY) / (LONGEST_DECAY - SHORTEST_DECAY)
    smallest = SMALLEST + 0.5 * share * (LARGEST - SMALLEST)
    smallest[0] = max(smallest[0], distance + 1)
    return rng.uniform(smallest, LARGEST)
