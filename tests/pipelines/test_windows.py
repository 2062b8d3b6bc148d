import pytest
import torch

from speech_enhance.pipelines.windows import (
    WindowBlender,
    average_shifted,
    cut_window,
    estimate_shifts,
    seeded_generator,
    window_noise,
    window_starts,
)


def blend(windows: list[torch.Tensor], overlap_frames: int) -> torch.Tensor:
    blender = WindowBlender(overlap_frames)
    return torch.cat([blender.push(item, last=item is windows[-1]) for item in windows], dim=-1)


@pytest.mark.parametrize("overlap_frames", [16, 0])
@pytest.mark.parametrize("num_frames", [1, 63, 64, 65, 112, 113, 500])
def test_windows_cover_every_frame_and_blend_back(num_frames, overlap_frames):
    starts = window_starts(num_frames, 64, overlap_frames)
    assert starts[0] == 0
    assert starts[-1] + 64 >= num_frames
    assert len(starts) == 1 or starts[-2] + 64 < num_frames
    maps = torch.randn(2, num_frames, generator=torch.Generator().manual_seed(0))
    windows = [cut_window(maps, start, 64) for start in starts]
    torch.testing.assert_close(blend(windows, overlap_frames)[:, :num_frames], maps)


def test_blend_crosses_over_linearly():
    joined = blend([torch.zeros(64), torch.ones(64)], 16)
    assert (joined[:48] == 0).all()
    assert (joined[64:] == 1).all()
    torch.testing.assert_close(joined[48:64], (torch.arange(16) + 0.5) / 16)


def test_noise_is_a_function_of_seed_and_frame():
    first, second = window_noise(3, 0, 600, 8), window_noise(3, 240, 384, 8)
    torch.testing.assert_close(first[:, 240:], second[:, :360], rtol=0, atol=0)
    assert not torch.equal(window_noise(4, 0, 600, 8), first)
    assert abs(first.std() - 1) < 0.05


def test_seeded_generators_differ_by_key():
    draws = {torch.rand(1, generator=seeded_generator(*key)).item() for key in [(0, 0), (0, 1), (1, 0), (0, 0, 0, 1)]}
    assert len(draws) == 4


@pytest.mark.parametrize("frame_multiple", [1, 2, 4, 8, 16, 32])
def test_estimates_meet_every_place_of_the_network_s_grid_before_one_again(frame_multiple):
    shifts = estimate_shifts(2 * frame_multiple, frame_multiple)
    assert shifts[0] == 0
    assert sorted(shifts[:frame_multiple]) == list(range(frame_multiple))
    assert shifts[frame_multiple:] == shifts[:frame_multiple]


@pytest.mark.parametrize("start", [0, 48, 96])
def test_windows_that_begin_earlier_are_averaged_frame_by_frame(start):
    maps = torch.randn(80, 150)
    shifts = estimate_shifts(5, 16)
    windows = torch.stack([cut_window(maps, start - shift, 64) for shift in shifts])
    for shift, window in zip(shifts, windows, strict=True):
        assert not window[:, : max(shift - start, 0)].any(), "silence lies before the beginning"
    torch.testing.assert_close(average_shifted(windows, shifts), cut_window(maps, start, 64))
    assert torch.equal(average_shifted(windows[:1], [0]), windows[0]), "one estimate is itself, bit by bit"
