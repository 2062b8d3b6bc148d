"""One recording on its way through the network, window by window."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

from ..mel.conditioning import ConditionConfig, build_condition
from ..mel.targets import MelTarget
from .analysis import Analysis
from .mel_port import GivenMel
from .settings import EnhancementSettings
from .windows import WindowBlender, WindowLayout, average_shifted, cut_window, estimate_shifts, window_starts


class Output(Protocol):
    """Turns the clean mel of a recording into the output: sound, or a mel.

    Attributes:
        num_made: Number of finished samples at the recording's rate; `None` if the output is not made of the
            recording's sound.
    """

    @property
    def num_made(self) -> int | None: ...

    def push(self, clean_mel: torch.Tensor, first: int, last: bool) -> np.ndarray | torch.Tensor | None:
        """Add the frames `clean_mel (views, groups, num_mel_bins, frames)`, which begin at frame `first`. `last` says
        whether the recording ends with them. Returns the part of the output that they complete."""
        ...

    def first_frame_needed(self, frame: int) -> int:
        """First frame of the analysis that is needed for the output of the frames from `frame` on."""
        ...


class RecordingStream:
    """One recording: gives its windows to the network, takes the answers, and returns sound or a mel.

    Args:
        analysis: [`Analysis`] of the recording, or a [`GivenMel`].
        output: Output that the clean mel is turned into.
        layout: Layout of the windows.
        condition_config: Channels of the network's condition.
        mel_target: Meaning of the network's answers.
        settings: Settings of the request.
    """

    def __init__(
        self,
        analysis: Analysis | GivenMel,
        output: Output,
        layout: WindowLayout,
        condition_config: ConditionConfig,
        mel_target: MelTarget,
        settings: EnhancementSettings,
    ):
        self._analysis, self._output, self._layout = analysis, output, layout
        self._condition_config, self._target, self._dereverb = condition_config, mel_target, settings.dereverb
        self._blender = WindowBlender(layout.overlap_frames)
        self.starts = window_starts(analysis.num_frames, layout.window_frames, layout.overlap_frames)
        self.num_groups = len(analysis.scale)
        num_views, num_estimates = analysis.num_views, settings.num_estimates
        shifts = estimate_shifts(-(-num_estimates // num_views), layout.frame_multiple)
        self._estimates = [(number % num_views, shifts[number // num_views]) for number in range(num_estimates)]
        self._answers: list[torch.Tensor] = []
        self._num_windows = 0
        self._frame = 0  # the first frame whose clean mel is not known yet

    def windows(self) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Yield first frame, number of the estimate and condition `(channels, num_mel_bins, window_frames)`. The order
        is window by window, then group by group, then estimate by estimate. Each group has `num_estimates` estimates,
        which cycle through the views. After the first cycle, the windows begin some frames earlier (see
        [`estimate_shifts`]). The recording is read only as far as each window needs it."""
        for start in self.starts:
            first, condition = self._condition(start)
            for group in range(self.num_groups):
                for estimate, (view, shift) in enumerate(self._estimates):
                    maps = condition[view, group]
                    yield start, estimate, cut_window(maps, start - shift - first, self._layout.window_frames)

    def accept(self, sample: torch.Tensor) -> np.ndarray | torch.Tensor | None:
        """Add the next answer `(num_mel_bins, window_frames)`, in the order of [`~RecordingStream.windows`]. Returns
        the part of the output that it completes, see [`~Output.push`]."""
        self._answers.append(sample)
        if len(self._answers) < self.num_groups * len(self._estimates):
            return None
        answers = self._average(torch.stack(self._answers).unflatten(0, (self.num_groups, -1)))
        self._answers = []
        self._num_windows += 1
        last = self._num_windows == len(self.starts)
        frames = self._blender.push(answers, last)[..., : self._analysis.num_frames - self._frame]
        first, self._frame = self._frame, self._frame + frames.shape[-1]
        clean_mel = self._target.decode(frames, self._analysis.noisy_mel.get(first, self._frame))
        output = self._output.push(clean_mel, first, last)
        if last:
            del self._analysis, self._output  # frees the buffers of this recording while others still run
        else:
            context, _ = self._context(self.starts[self._num_windows])
            first_needed = min(context, self._output.first_frame_needed(self._frame))
            self._analysis.forget(first_needed, self._output.num_made)
        return output

    def _average(self, answers: torch.Tensor) -> torch.Tensor:
        """Mean `(views, groups, num_mel_bins, frames)` of a window's `answers (groups, estimates, num_mel_bins,
        frames)`."""
        num_views = self._analysis.num_views
        shifts = [shift for _, shift in self._estimates]
        views = range(num_views)
        return torch.stack([average_shifted(answers[:, view::num_views], shifts[view::num_views]) for view in views])

    def _condition(self, start: int) -> tuple[int, torch.Tensor]:
        """First frame and condition `(views, groups, channels, num_mel_bins, frames)`, which covers the windows at
        `start`."""
        first, last = self._context(start)
        self._analysis.read_to(last)
        noisy_mel = self._analysis.noisy_mel.get(first, min(last, self._analysis.num_frames))
        condition = build_condition(noisy_mel.flatten(0, 1), self._condition_config, self._dereverb)
        return first, condition.unflatten(0, noisy_mel.shape[:2])

    def _context(self, start: int) -> tuple[int, int]:
        """Frames that the condition of the windows at `start` depends on, in whole blocks of the noise floor."""
        block, reach = self._condition_config.block, self._condition_config.span - self._condition_config.block
        context = -(-reach // (2 * block)) * block
        first = (start - max(shift for _, shift in self._estimates)) // block * block - context
        last = -(-(start + self._layout.window_frames) // block) * block + context
        return max(first, 0), last
