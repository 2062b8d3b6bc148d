"""The network for live sound: what it may see, what it remembers, and how a pipeline has it."""

import json

import numpy as np
import pytest
import torch
from causal import make_network, make_pipeline
from conftest import noise, quiet

from speech_enhance import CausalUNet2DModel, LiveTiming, OnnxUNet, SpeechEnhancementPipeline


@pytest.fixture(scope="module")
def maps():
    torch.manual_seed(1)
    return torch.randn(2, 1, 80, 40), torch.randn(2, 2, 80, 40)


@torch.no_grad()
@pytest.mark.parametrize("look_ahead", [0, 2])
def test_an_answer_depends_on_the_condition_up_to_the_look_ahead_and_on_no_later_sample(maps, look_ahead):
    network, (sample, condition) = make_network(look_ahead_frames=look_ahead), maps
    timesteps = torch.tensor([999, 300])
    answer = network(sample, timesteps, condition).sample
    assert answer.shape == sample.shape
    for maps_of, seen in (("sample", 20), ("condition", 20 - look_ahead)):
        other_sample, other_condition = sample.clone(), condition.clone()
        (other_sample if maps_of == "sample" else other_condition)[..., 20:] += 1
        other = network(other_sample, timesteps, other_condition).sample
        assert torch.equal(other[..., :seen], answer[..., :seen])
        assert not torch.allclose(other[..., seen], answer[..., seen])


@torch.no_grad()
def test_frames_in_any_parts_give_the_same_answers(maps):
    network, (sample, condition) = make_network(), maps
    whole = network(sample, torch.tensor([999, 300]), condition).sample
    padded = torch.nn.functional.pad(condition, (0, network.look_ahead_frames))
    parts, state = [], None
    for first, last in ((0, 1), (1, 3), (3, 29), (29, 40)):
        frames = sample[..., first:last], torch.tensor([999, 300]), padded[..., first : last + 2]
        part, state = network.step(*frames, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, c: (s[:, :, :79], c[:, :, :79]), r"`sample` must be \(batch, 1, 80, frames\), got \(2, 1, 79, 40\)"),
        (lambda s, c: (s, c[:, :1]), r"`condition` must be \(2, 2, 80, 40\) for this `sample`, got \(2, 1, 80, 40\)"),
        (lambda s, c: (s, c[..., :30]), r"got \(2, 2, 80, 30\)"),
    ],
)
def test_wrong_shapes_are_named(maps, change, message):
    with pytest.raises(ValueError, match=message):
        make_network()(*change(*maps)[:1], 0, change(*maps)[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_bands": 82}, "`num_bands` must be a multiple of 4"),
        ({"block_out_channels": (8, 13)}, "`block_out_channels` must be multiples of 2"),
    ],
)
def test_impossible_sizes_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        make_network(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("sampling_rate", [16000, 48000])
@pytest.mark.parametrize("settings", [{}, {"num_inference_steps": 3, "num_estimates": 2}])
def test_live_sound_costs_each_frame_once_and_the_blocks_do_not_matter(sampling_rate, settings):
    live = make_pipeline().live(sampling_rate, **settings)
    assert live.latency / sampling_rate <= 0.064
    audio = noise(sampling_rate + 77, channels=2)
    outputs = []
    for length in (sampling_rate // 62, 1000, len(audio[0])):
        blocks = np.split(audio, range(length, audio.shape[1], length), axis=1)
        outputs.append(np.concatenate([*(live.process(block) for block in blocks), live.flush()], axis=1))
    for other in outputs[1:]:
        np.testing.assert_allclose(other, outputs[0], atol=1e-5)
    delayed = outputs[0][:, live.latency :]
    assert np.abs(delayed - audio).max() > 0.01
    assert 0.5 < np.corrcoef(delayed[0], audio[0])[0, 1] < 1


def test_live_sound_is_what_a_window_of_the_same_sound_would_be():
    """The memory carries over from call to call: a single window from the beginning knows the same past."""
    pipeline = make_pipeline()
    shown = []

    class Watched(CausalUNet2DModel):
        def step(self, sample, timestep, condition, state=None):
            shown.append((sample, condition))
            return super().step(sample, timestep, condition, state)

    pipeline.unet.__class__ = Watched
    live = pipeline.live(16000)
    live.process(noise(8000))
    count = len(shown)
    sample = torch.cat([part for part, _ in shown], dim=-1)
    condition = torch.cat([part[..., :2] for _, part in shown[:-1]] + [shown[-1][1]], dim=-1)
    assert sample.shape[-1] == 2 * count == 2 * live.num_calls
    assert condition.shape[-1] == sample.shape[-1] + 2
    with torch.no_grad():
        whole, _ = CausalUNet2DModel.step(pipeline.unet, sample, 999, condition)
        state, parts = None, []
        for frame in range(0, sample.shape[-1], 2):
            pieces = sample[..., frame : frame + 2], 999, condition[..., frame : frame + 4]
            part, state = CausalUNet2DModel.step(pipeline.unet, *pieces, state)
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=0)


def test_a_latency_that_it_was_not_trained_for_is_refused():
    pipeline = make_pipeline()
    assert pipeline.live(16000, "low").latency == pipeline.live(16000).latency == 895
    assert pipeline.live(16000, LiveTiming(look_ahead_ms=16, interval_ms=32, window_ms=64)).latency == 1151
    for latency in ("quality", LiveTiming(look_ahead_ms=64, interval_ms=64, window_ms=1024)):
        with pytest.raises(ValueError, match="this network was trained to look 16 ms ahead"):
            pipeline.live(16000, latency)


def test_a_pipeline_with_it_enhances_files_and_is_saved_and_loaded(tmp_path):
    pipeline = make_pipeline()
    audio = noise(20000)
    enhanced = pipeline(audio, 16000).audios
    assert enhanced.shape == audio.shape
    pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["unet"] == ["speech_enhance", "CausalUNet2DModel"]
    loaded = quiet(SpeechEnhancementPipeline.from_pretrained(tmp_path))
    np.testing.assert_allclose(loaded(audio, 16000).audios, enhanced, atol=1e-6)  # sums of another order


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory_channels": 10**6}, "`memory_channels` must be from 1 to"),
        ({"_class_name": "ConditionalUNet2DModel"}, "is of a 'ConditionalUNet2DModel', not of a CausalUNet2DModel"),
        ({"num_bands": 64}, "these files do not belong together"),
    ],
)
def test_a_folder_from_elsewhere_is_checked(tmp_path, changes, message):
    make_pipeline().save_pretrained(tmp_path)
    path = tmp_path / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=message):
        SpeechEnhancementPipeline.from_pretrained(tmp_path)


def test_onnx_runtime_refuses_it():
    with pytest.raises(ValueError, match="OnnxUNet is for a ConditionalUNet2DModel, got a CausalUNet2DModel"):
        OnnxUNet(make_network())
