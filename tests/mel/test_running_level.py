import numpy as np
import pytest
import torch
from conftest import TINY_LAYOUT, TINY_UNET, OracleUNet, noise, quiet

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline
from speech_enhance.mel.running_level import level_at_frames, limited_level, running_level
from speech_enhance.mel.spectrogram import active_level, frame_power, level_frame
from speech_enhance.models.schedulers import training_scheduler


def level_db(audio: np.ndarray) -> np.ndarray:
    power = frame_power(torch.from_numpy(audio).square()[None], level_frame(16000))
    return 20 * np.log10(running_level(power)[0].numpy())


@pytest.fixture
def speech(sample_pair) -> np.ndarray:
    """Some 23 s of speech."""
    return np.tile(sample_pair[1], 3)


def test_it_is_the_level_of_the_active_speech(sample_pair):
    for audio in sample_pair:
        expected = 20 * np.log10(active_level(torch.from_numpy(audio)[None], 16000).item())
        assert level_db(audio) == pytest.approx(np.full(-(-len(audio) // 512), expected), abs=2.5)


def test_it_scales_with_the_recording(speech):
    np.testing.assert_allclose(level_db(0.01 * speech), level_db(speech) - 40, atol=1e-3)


def test_its_speed_is_bounded(speech):
    audio = speech * np.repeat([0.001, 1.0, 0.01], len(speech) // 3)[: len(speech)].astype(np.float32)
    assert np.abs(np.diff(level_db(audio))).max() <= 0.2001
    audio[len(audio) // 2 : len(audio) // 2 + 8000] = 1.0
    assert np.abs(np.diff(level_db(audio))).max() <= 0.2001


def test_a_pause_leaves_it_where_it_was(speech):
    pause = 1e-4 * noise(10 * 16000)
    track = level_db(np.concatenate([speech, pause, speech]))
    first, second = len(speech) // 512, (len(speech) + len(pause)) // 512
    plain = level_db(speech)
    assert np.abs(track[first:second] - plain.mean()).max() < 4
    assert np.abs(track[second + 300 :] - plain.mean()).max() < 3


@pytest.mark.parametrize(("seconds", "loudness_db", "tolerance"), [(2.0, 40, 2.0), (0.3, 30, 2.0), (0.3, 60, 2.0)])
def test_a_loud_event_moves_it_little(speech, seconds, loudness_db, tolerance):
    """The level of a whole recording rises by as much as the event is louder."""
    burst = noise(round(16000 * seconds)) / 0.1
    burst *= active_level(torch.from_numpy(speech)[None], 16000).item() * 10 ** (loudness_db / 20)
    track, plain = level_db(np.concatenate([burst, speech])), level_db(speech)
    after = track[-len(plain) :]
    assert np.abs(after - plain).max() < tolerance
    assert np.abs(after[300:] - plain[300:]).max() < tolerance / 2


def test_a_loud_event_before_a_short_recording_moves_it_little(sample_pair):
    speech = sample_pair[0][: 4 * 16000]
    burst = noise(32000) / 0.1 * active_level(torch.from_numpy(speech)[None], 16000).item() * 100
    track, plain = level_db(np.concatenate([burst, speech])), level_db(speech)
    assert np.abs(track[-len(plain) :] - plain).max() < 4


def test_it_does_not_start_from_a_loud_event():
    """Most active frames are the edge of an event, the others are speech that a noise nearly hides."""
    power = torch.full((1, 300), 1.0).double()
    power[:, :60] = 1e4
    power[:, 200:206] = 4.0
    alone, with_event = (20 * running_level(item).log10()[0] for item in (power[:, 60:], power))
    assert (with_event[60:] - alone).abs().max() < 2


def test_no_frame_is_far_louder_than_the_limited_level():
    level = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [0.0] * 6])
    power = torch.tensor([[1.0, 10.0, 1.0, 1.0, 1.0, 1e4], [0.0] * 6])
    limited = 20 * limited_level(level, power).log10()
    torch.testing.assert_close(limited[0], torch.tensor([0.0, 0.0, 0.0, 0.0, 25.0, 25.0]))
    assert limited[1].isneginf().all()


def test_silence_has_none():
    assert not running_level(torch.zeros(2, 30)).any()
    assert running_level(torch.ones(1, 1)).item() > 0


def test_frames_lie_between_the_blocks_of_the_level():
    level = torch.tensor([[1.0, 2.0, 4.0]])
    at = level_at_frames(level, 0, 13, 0.008)[0]
    assert at[0] == 1
    assert at[2] == 1  # centre of the first block of 32 ms
    assert at[4] == 1.5
    assert at[6] == 2
    assert (at[10:] == 4).all()
    torch.testing.assert_close(level_at_frames(level, 5, 9, 0.008)[0], at[5:9])
    assert (level_at_frames(torch.tensor([[3.0]]), 5, 9, 0.008) == 3).all()


@pytest.fixture
def running_pipeline() -> SpeechEnhancementPipeline:
    torch.manual_seed(0)
    unet = ConditionalUNet2DModel(**TINY_UNET).eval()
    settings = {"level_rule": "running", "remove_offset": True}
    return quiet(SpeechEnhancementPipeline(unet, training_scheduler(), **TINY_LAYOUT, **settings))


@pytest.mark.parametrize("independent", [False, True])
def test_a_stream_of_blocks_equals_the_call(running_pipeline, independent):
    audio = noise(70001, channels=2) * np.linspace(0.01, 1, 70001, dtype=np.float32) + np.float32([[0.1], [-0.05]])
    blocks = lambda: iter(np.split(audio, [3000, 3001, 50000], axis=1))  # noqa: E731
    expected = running_pipeline(audio, 44100, 1, 1, independent_channels=independent).audios
    streamed = np.concatenate(
        list(
            running_pipeline.stream(
                blocks, 44100, num_inference_steps=1, num_estimates=1, independent_channels=independent
            )
        ),
        axis=1,
    )
    np.testing.assert_allclose(streamed, expected, atol=1e-5)


@pytest.mark.parametrize("sampling_rate", [16000, 44100])
def test_an_offset_changes_nothing_but_itself(running_pipeline, sampling_rate):
    audio = noise(60000, channels=2)
    audio -= audio.mean(axis=1, keepdims=True)
    offset = np.float32([[0.3], [-0.1]])
    plain = running_pipeline(audio, sampling_rate, 1, 1).audios
    shifted = running_pipeline(audio + offset, sampling_rate, 1, 1).audios
    np.testing.assert_allclose(shifted - offset, plain, atol=1e-4)


def test_a_loud_event_is_softer_for_the_network_and_as_loud_in_a_mel(running_pipeline, speech):
    """The network sees an event of 60 dB 15 dB above the speech; a mel has all of it."""
    event = 1000 * active_level(torch.from_numpy(speech)[None], 16000).item() / 0.1 * noise(32000)
    audio = np.concatenate([speech[:64000], event, speech[64000:]])
    seen = []

    class Watch(OracleUNet):
        def forward(self, sample, timestep, condition, **kwargs):
            seen.append(condition[:, 0].max().item())
            return super().forward(sample, timestep, condition, **kwargs)

    running_pipeline.unet = Watch(**TINY_UNET)
    one_level = quiet(SpeechEnhancementPipeline(Watch(**TINY_UNET), training_scheduler(), **TINY_LAYOUT))
    mel = running_pipeline(audio, 16000, 1, 1, output_type="mel").mels
    largest = max(seen)
    assert largest < 1.2 * running_pipeline(speech, 16000, 1, 1, output_type="mel").mels.max()  # else a factor of 4
    expected = one_level(audio, 16000, 1, 1, output_type="mel").mels
    ratio, expected_ratio = (item[:, 550:700].mean() / item[:, 50:450].mean() for item in (mel, expected))
    assert ratio == pytest.approx(expected_ratio.item(), rel=0.1)


@pytest.mark.parametrize("sampling_rate", [16000, 44100])
def test_a_network_that_changes_nothing_gives_the_recording_back(sampling_rate):
    unet = OracleUNet(**TINY_UNET)
    settings = {"level_rule": "running", "remove_offset": True}
    pipeline = quiet(SpeechEnhancementPipeline(unet, training_scheduler(), **TINY_LAYOUT, **settings))
    audio = noise(60000, channels=2) * np.linspace(0.01, 1, 60000, dtype=np.float32) + np.float32(0.2)
    np.testing.assert_allclose(pipeline(audio, sampling_rate, 2, 2).audios, audio, atol=1e-4)


def test_a_mel_has_one_level(running_pipeline):
    """A mel that is asked for is as loud in relation to itself as the sound."""
    audio = noise(160000) * np.repeat([1, 0.1], 80000).astype(np.float32)
    running_pipeline.unet = OracleUNet(**TINY_UNET)
    mel = running_pipeline(audio, 16000, 1, 1, output_type="mel").mels
    loud, soft = mel[:, 100:500].pow(1 / 0.3).mean(), mel[:, 750:1200].pow(1 / 0.3).mean()
    assert 20 * np.log10(loud / soft) == pytest.approx(20, abs=0.5)
