import torch

from speech_enhance.mel.conditioning import ConditionConfig, build_condition, noise_floor

SPAN, BLOCK = 64, 16


def test_floor_finds_the_noise_under_the_speech():
    mel = torch.full((1, 2, 200), 0.2)
    mel[:, 0, ::3] = 1.5  # pooled over groups of four frames this never reaches the floor of the second band
    mel[:, 1, 50:90] = 2.0
    floor = noise_floor(mel, SPAN, BLOCK)
    assert floor.shape == mel.shape
    torch.testing.assert_close(floor[:, 1], mel[:, 1].clamp(max=0.2))


def test_floor_is_the_percentile_of_the_frames_inside_the_recording():
    mel = torch.rand(2, 3, 150, generator=torch.Generator().manual_seed(0))
    floor = noise_floor(mel, SPAN, BLOCK)
    for first in range(0, 150, BLOCK):
        middle = first + BLOCK // 2
        inside = mel[..., max(middle - SPAN // 2, 0) : middle + SPAN // 2]
        means = torch.stack([part.mean(dim=-1) for part in inside.split(4, dim=-1)], dim=-1)
        lowest = means.sort(dim=-1).values[..., int((means.shape[-1] - 1) * 0.1)]
        torch.testing.assert_close(
            floor[..., first : first + BLOCK], lowest[..., None].expand(2, 3, BLOCK)[..., : 150 - first]
        )


def test_floor_of_a_frame_depends_on_its_span_alone():
    generator = torch.Generator().manual_seed(0)
    mel = torch.rand(1, 4, 400, generator=generator)
    floor = noise_floor(mel, SPAN, BLOCK)
    shorter = noise_floor(mel[..., :256], SPAN, BLOCK)
    same = (256 - (SPAN - BLOCK) // 2) // BLOCK * BLOCK  # blocks whose span ends before the shorter recording
    torch.testing.assert_close(floor[..., :same], shorter[..., :same], rtol=0, atol=0)
    changed = mel.clone()
    changed[..., 300:] = 5.0
    torch.testing.assert_close(noise_floor(changed, SPAN, BLOCK)[..., :256], floor[..., :256], rtol=0, atol=0)


def test_condition_of_one_frame():
    condition = build_condition(torch.full((1, 80, 1), 0.7), ConditionConfig(SPAN, BLOCK))
    assert condition.shape == (1, 3, 80, 1)
    torch.testing.assert_close(condition[0, :2, :, 0], torch.full((2, 80), 0.7))
    torch.testing.assert_close(condition[0, 2, [0, -1], 0], torch.tensor([-1.0, 1.0]))


def test_channels_can_be_left_out():
    mel = torch.rand(2, 80, 40)
    whole = build_condition(mel, ConditionConfig(SPAN, BLOCK))
    for floor, coordinate, kept in ((True, False, [0, 1]), (False, True, [0, 2]), (False, False, [0])):
        config = ConditionConfig(SPAN, BLOCK, floor, coordinate)
        assert config.num_channels == len(kept)
        torch.testing.assert_close(build_condition(mel, config), whole[:, kept])


def test_the_dial_for_reverberation_is_a_constant_channel():
    config = ConditionConfig(span=64, block=16, with_dereverb=True)
    mel = torch.rand(2, 5, 40)
    condition = build_condition(mel, config, torch.tensor([0.25, 1.0]))
    assert condition.shape == (2, config.num_channels, 5, 40)
    assert (condition[0, -1] == 0.25).all()
    assert (condition[1, -1] == 1).all()
    assert not build_condition(mel, config)[:, -1].any()
