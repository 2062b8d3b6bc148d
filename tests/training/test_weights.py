import pytest
import torch
from conftest import TINY_UNET

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline
from speech_enhance.models.schedulers import training_scheduler
from training.average import main
from training.weights import condition_channels, start_from


def network(seed, **changes):
    torch.manual_seed(seed)
    return ConditionalUNet2DModel(**TINY_UNET | changes).eval()


@pytest.fixture
def maps():
    return torch.randn(2, 4, 80, 64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("layers", [(1, 2), (1, 3), (2, 4)])
def test_added_layers_change_nothing_and_learn(layers, maps, tmp_path):
    shallow, deep = (network(seed, layers_per_block=number) for seed, number in enumerate(layers))
    SpeechEnhancementPipeline(shallow, training_scheduler()).save_pretrained(tmp_path / "shallow")
    started = {name: value.clone() for name, value in deep.state_dict().items()}
    start_from(deep, str(tmp_path / "shallow"), condition_channels({}))
    expected = shallow(maps[:, :1], 700, maps[:, 1:]).sample
    actual = deep(maps[:, :1], 700, maps[:, 1:]).sample
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)

    (actual - maps[:, :1]).square().mean().backward()
    still = {name for name, value in deep.named_parameters() if not value.grad.any()}
    assert not [name for name in still if name.endswith(("conv2.weight", "to_out.0.weight"))]
    kept = {name for name, value in deep.state_dict().items() if torch.equal(value, started[name])}
    assert any(name.endswith("conv1.weight") for name in kept)  # what is behind the zeros begins at random


@pytest.mark.parametrize(
    ("old_settings", "new_settings", "place"),
    [
        ({}, {"self_conditioning": True}, 4),
        ({}, {"with_dereverb": True}, 4),
        ({"self_conditioning": True}, {"self_conditioning": True, "with_dereverb": True}, 4),
    ],
)
def test_a_new_channel_changes_nothing_and_learns(maps, tmp_path, old_settings, new_settings, place):
    """The channel for the last estimate stays the last, whatever comes before it."""
    number = len(condition_channels(new_settings))
    old, new = network(0, in_channels=32 * (number - 1)), network(1, in_channels=32 * number)
    SpeechEnhancementPipeline(old, training_scheduler(), **old_settings).save_pretrained(tmp_path / "old")
    start_from(new, str(tmp_path / "old"), condition_channels(new_settings))
    maps = torch.cat([maps, torch.randn(2, number - 5, 80, 64)], dim=1)
    shown = torch.cat([maps[:, 1:place], torch.randn(2, 1, 80, 64), maps[:, place:]], dim=1)
    answer = new(maps[:, :1], 700, shown).sample
    torch.testing.assert_close(answer, old(maps[:, :1], 700, maps[:, 1:]).sample)
    answer.square().mean().backward()
    assert new.conv_in.weight.grad[:, 32 * place : 32 * (place + 1)].any()
    with pytest.raises(ValueError, match=f"in_channels is {32 * (number - 1)}, not {32 * number}"):
        start_from(network(1, in_channels=32 * number), str(tmp_path / "old"), condition_channels(old_settings))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_out_channels": (8, 24)}, r"block_out_channels is \[8, 16\], not \[8, 24\]$"),
        ({"norm_num_groups": 2}, "norm_num_groups is 4, not 2$"),  # whose weights have the same shapes
        ({"layers_per_block": 1}, "layers_per_block is 2, not 1$"),
    ],
    ids=["width", "groups", "fewer layers"],
)
def test_a_network_that_differs_otherwise_is_refused(changes, message, tmp_path):
    SpeechEnhancementPipeline(network(0, layers_per_block=2), training_scheduler()).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"init_from: the network of .*other is not that of `unet`: " + message):
        start_from(network(0, **{"layers_per_block": 2} | changes), str(tmp_path / "other"), condition_channels({}))


def test_a_mean_of_checkpoints_of_which_one_lacks_channels(tmp_path):
    dial = {"with_dereverb": True}
    earlier, later = network(0, in_channels=128), network(1, in_channels=160)
    SpeechEnhancementPipeline(earlier, training_scheduler()).save_pretrained(tmp_path / "earlier")
    SpeechEnhancementPipeline(later, training_scheduler(snr_shift_db=3.0), **dial).save_pretrained(tmp_path / "later")
    folders = [f"{tmp_path / 'later'}=3", f"{tmp_path / 'earlier'}=1"]
    main([str(tmp_path / "mean"), "--of", *folders, "--dial-gain", "2"])
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "mean").rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "plain").stat().st_mode}, "as readable as any other file"
    mean = SpeechEnhancementPipeline.from_pretrained(tmp_path / "mean")
    assert mean.config.with_dereverb
    assert mean.scheduler.config.trained_betas == training_scheduler(snr_shift_db=3.0).config.trained_betas
    found, one, two = (unet.state_dict() for unet in (mean.unet, later, earlier))
    rounding = {"atol": 1e-3, "rtol": 1e-3}
    for name in one.keys() - {"conv_in.weight"}:
        torch.testing.assert_close(found[name], 0.75 * one[name] + 0.25 * two[name], **rounding)
    seen = found["conv_in.weight"]
    torch.testing.assert_close(
        seen[:, :128], 0.75 * one["conv_in.weight"][:, :128] + 0.25 * two["conv_in.weight"], **rounding
    )
    torch.testing.assert_close(seen[:, 128:], 2 * 0.75 * one["conv_in.weight"][:, 128:], **rounding)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--of", "{folder}"], "expected FOLDER=WEIGHT"),
        (["--of", "{folder}=0"], "weights must be above 0, got 0"),
        (["--of", "{folder}=1", "--dial-gain", "2"], "has no dial for reverberation"),
        (["--of", "{folder}=1", "{folder}/nowhere=1"], "nowhere"),
    ],
)
def test_what_has_no_mean(tiny_model, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "mean"), *(argument.format(folder=tiny_model) for argument in arguments)])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "mean").exists()
