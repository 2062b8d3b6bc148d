"""Mels in and out: layouts, the pipeline as a stage of text-to-speech, vocoders."""

import json
import math

import numpy as np
import pytest
import torch
from conftest import noise, quiet
from mel_stages import INNER, make_stage, make_vocoder
from transformers import SpeechT5FeatureExtractor, UnivNetConfig, UnivNetModel

from speech_enhance import MEL_LAYOUTS, MEL_STAGE_CHECKPOINT, MelConfig, SpeechEnhancementPipeline, convert_mel
from speech_enhance.mel import vocoding
from speech_enhance.mel.layouts import level_mel, mel_active_level, rescale_mel
from speech_enhance.mel.spectrogram import active_level, decompress, mel_spectrogram, stft
from speech_enhance.models.schedulers import training_scheduler
from training.mixtures.degradation import smear

SPEECHT5 = MEL_LAYOUTS["speecht5"]


@pytest.fixture
def speech(sample_pair) -> np.ndarray:
    return sample_pair[1][:40960]


@pytest.fixture
def speecht5_mel(speech) -> torch.Tensor:
    """`(frames, 80)`, by transformers' own feature extractor."""
    extract = SpeechT5FeatureExtractor()
    return torch.from_numpy(extract(audio_target=speech, sampling_rate=16000)["input_values"][0])


def test_the_layout_is_that_of_transformers_feature_extractor(speech, speecht5_mel):
    ours = mel_spectrogram(stft(torch.from_numpy(speech)[None], SPEECHT5).abs(), SPEECHT5)[0].T
    assert ours.shape == speecht5_mel.shape
    inner = slice(2, -2)  # at both ends theirs mirrors the recording, ours continues with silence
    torch.testing.assert_close(ours[inner], speecht5_mel[inner], atol=1e-4, rtol=0)


def test_conversion_is_exact_where_only_compression_differs(speecht5_mel):
    inner = MelConfig(**{name: value for name, value in INNER.items() if name in MelConfig.__dataclass_fields__})
    mel = speecht5_mel.T
    audible = mel > -4.9
    there = convert_mel(mel, SPEECHT5, inner)
    assert there.min() >= 0
    assert convert_mel(torch.full_like(mel, -10.0), SPEECHT5, inner).abs().max() == 0, "silence must be 0 inside"
    torch.testing.assert_close(convert_mel(there, inner, SPEECHT5)[audible], mel[audible], atol=1e-4, rtol=0)
    natural = MelConfig(
        **{**SPEECHT5.__dict__, "mel_scale": math.log(10), "mel_floor": 1e-5, "mel_silence": math.log(1e-5)}
    )
    expected = mel.clamp(min=-5) * math.log(10)
    torch.testing.assert_close(convert_mel(mel, SPEECHT5, natural), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("source", [MelConfig(), MelConfig(hop_length=256, num_mel_bins=128)])
def test_conversion_between_other_bands_hops_and_windows_is_near(speech, speecht5_mel, source):
    mel = mel_spectrogram(stft(torch.from_numpy(speech)[None], source).abs(), source)[0]
    converted = convert_mel(mel, source, SPEECHT5).T
    assert converted.shape == speecht5_mel.shape
    audible = speecht5_mel > speecht5_mel.max() - 2
    error_db = 20 * (converted - speecht5_mel)[audible]
    assert error_db.abs().mean() < 3.5
    assert abs(error_db.mean()) < 1.5


@pytest.mark.parametrize("config", [SPEECHT5, MelConfig()])
def test_level_of_a_mel_is_that_of_the_sound(speech, config):
    waveform = torch.from_numpy(speech)[None]
    mel = mel_spectrogram(stft(waveform, config).abs(), config)[0]
    level = mel_active_level(decompress(mel, config), config)
    assert abs(20 * math.log10(level / active_level(waveform, 16000))) < 3
    louder = mel_active_level(decompress(rescale_mel(mel, torch.tensor(4.0), config), config), config)
    assert (louder / level).item() == pytest.approx(4, rel=1e-3)


def test_what_the_network_sees_does_not_depend_on_the_level(speecht5_mel):
    inner = make_stage().mel_config
    quiet_mel, scale = level_mel(speecht5_mel.T, SPEECHT5, inner)
    loud_mel, loud_scale = level_mel(speecht5_mel.T + 0.5, SPEECHT5, inner)
    torch.testing.assert_close(loud_mel, quiet_mel, atol=2e-3, rtol=0)
    assert (scale / loud_scale).item() == pytest.approx(10**0.5, rel=1e-3)
    silence, scale = level_mel(torch.full((80, 9), -10.0), SPEECHT5, inner)
    assert silence.abs().max() == 0
    assert scale == 1


def test_a_stage_that_changes_nothing_gives_the_mel_back(speecht5_mel):
    stage = make_stage()
    enhanced = stage(mel=speecht5_mel, output_type="mel").mels
    assert enhanced.shape == speecht5_mel.shape
    audible = speecht5_mel > -4
    torch.testing.assert_close(
        enhanced[audible], speecht5_mel[audible], atol=5e-3, rtol=0
    )  # of the noise, 2⁻¹² is left


def test_mels_of_every_form_come_back_in_it(speecht5_mel):
    stage = make_stage(make_vocoder())
    two = torch.stack([speecht5_mel, speecht5_mel + 0.1])
    one = stage(mel=speecht5_mel, output_type="mel").mels
    batch = stage(mel=two, output_type="mel").mels
    assert batch.shape == two.shape
    torch.testing.assert_close(batch[0], one)
    lists = stage(mel=[speecht5_mel.numpy(), speecht5_mel[:30]], output_type="mel").mels
    assert [item.shape for item in lists] == [(161, 80), (30, 80)]
    torch.testing.assert_close(lists[0], one)
    assert stage(mel=speecht5_mel).audios.shape == (161 * 256,)
    assert stage(mel=two).audios.shape == (2, 161 * 256)
    assert torch.is_tensor(stage(mel=speecht5_mel, output_type="pt").audios)
    assert [len(item) for item in stage(mel=[speecht5_mel[:4], speecht5_mel[:9]]).audios] == [1024, 2304]


def test_one_frame_and_silence_work():
    stage = make_stage(make_vocoder())
    assert stage(mel=torch.full((1, 80), -10.0)).audios.shape == (256,)
    enhanced = stage(mel=torch.full((700, 80), -10.0), output_type="mel").mels
    assert enhanced.shape == (700, 80)
    assert (enhanced < -4.9).all(), "silence stays below the floor of the inner mel"


def test_the_own_form_goes_round(tiny_pipeline):
    audio = noise(16000)
    clean_mel = tiny_pipeline(audio, 16000, 1, output_type="mel").mels
    again = tiny_pipeline(mel=clean_mel, output_type="mel").mels
    assert again.shape == clean_mel.shape == (80, 126)
    assert tiny_pipeline(mel=torch.stack([clean_mel] * 2), output_type="mel").mels.shape == (2, 80, 126)


def test_a_recordings_mel_leaves_in_the_layout_at_its_own_level(speech, speecht5_mel):
    stage = make_stage()
    mel = stage(speech, 16000, output_type="mel").mels
    assert mel.shape == speecht5_mel.shape
    audible = speecht5_mel[2:-2] > -3
    torch.testing.assert_close(mel[2:-2][audible], speecht5_mel[2:-2][audible], atol=5e-3, rtol=0)


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 44100])
def test_a_recording_through_a_vocoder_keeps_length_and_form(sampling_rate):
    stage = make_stage(make_vocoder())
    audio = noise(round(1.3 * sampling_rate))
    enhanced = stage(audio, sampling_rate, use_vocoder=True).audios
    assert enhanced.shape == audio.shape
    assert np.isfinite(enhanced).all()
    assert np.abs(enhanced).max() > 0
    stereo = stage(np.stack([audio, audio[::-1]]), sampling_rate, use_vocoder=True, independent_channels=True).audios
    assert stereo.shape == (2, len(audio))
    np.testing.assert_allclose(stereo[0], enhanced, atol=1e-5)


def test_a_vocoder_of_the_own_mel_gives_the_recordings_level(tiny_unet):
    pipeline = quiet(
        SpeechEnhancementPipeline(
            tiny_unet, training_scheduler(), make_vocoder(128), window_frames=64, overlap_frames=16
        )
    )
    audio = noise(8000)
    loud, faint = (pipeline(factor * audio, 16000, 1, use_vocoder=True).audios for factor in (1.0, 0.01))
    np.testing.assert_allclose(faint, 0.01 * loud, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 30, 31, 300])
def test_a_vocoder_in_chunks_is_the_vocoder(monkeypatch, frames):
    vocoder, mel = make_vocoder(), torch.randn(80, frames)
    with torch.no_grad():
        whole = vocoder(mel.T)
        monkeypatch.setattr(vocoding, "CHUNK_FRAMES", 30)
        chunks = vocoding.vocode(vocoder, mel)
        assert whole.abs().max() > 1e-3
        torch.testing.assert_close(chunks, whole, atol=1e-6, rtol=0)
        if frames == 300:
            monkeypatch.setattr(vocoding, "frames_heard", lambda config: 2)
            assert (vocoding.vocode(vocoder, mel) - whole).abs().max() > 1e-4, (
                "too few frames around a chunk are noticed"
            )


def test_saved_with_its_vocoder_and_loaded_it_is_the_same(tmp_path, speecht5_mel):
    from speech_enhance import ConditionalUNet2DModel

    stage = make_stage(make_vocoder(), ConditionalUNet2DModel)
    stage.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["vocoder"] == ["transformers", "SpeechT5HifiGan"]
    loaded = quiet(SpeechEnhancementPipeline.from_pretrained(tmp_path))
    np.testing.assert_array_equal(loaded(mel=speecht5_mel).audios, stage(mel=speecht5_mel).audios)
    without = SpeechEnhancementPipeline.from_pretrained(tmp_path, vocoder=None)
    assert without.vocoder is None


def test_half_precision_files_are_computed_in_single(tmp_path):
    from speech_enhance import ConditionalUNet2DModel

    make_stage(make_vocoder().half(), ConditionalUNet2DModel).save_pretrained(tmp_path)
    assert SpeechEnhancementPipeline.from_pretrained(tmp_path).vocoder.dtype == torch.float32


@pytest.mark.slow
def test_a_vocoder_is_added_to_a_folder(tmp_path, speecht5_mel):
    from speech_enhance import ConditionalUNet2DModel
    from training.vocoder.add_vocoder import main

    make_stage(unet=ConditionalUNet2DModel).save_pretrained(tmp_path / "without")
    make_vocoder().save_pretrained(tmp_path / "vocoder")
    main([str(tmp_path / "without"), str(tmp_path / "vocoder"), "--output", str(tmp_path / "with")])
    both = quiet(SpeechEnhancementPipeline.from_pretrained(tmp_path / "with"))
    expected = quiet(make_stage(make_vocoder(), ConditionalUNet2DModel))(mel=speecht5_mel).audios
    assert np.abs(both(mel=speecht5_mel).audios - expected).max() < 0.05 * np.abs(expected).max()
    make_vocoder(128).save_pretrained(tmp_path / "other")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "without"), str(tmp_path / "other"), "--output", str(tmp_path / "wrong")])
    assert not (tmp_path / "wrong").exists()


def test_a_pipeline_saved_without_vocoder_takes_one(tmp_path, tiny_model):
    without = SpeechEnhancementPipeline.from_pretrained(tiny_model)
    assert without.vocoder is None
    without.save_pretrained(tmp_path)
    assert SpeechEnhancementPipeline.from_pretrained(tmp_path).vocoder is None
    given = SpeechEnhancementPipeline.from_pretrained(tmp_path, vocoder=make_vocoder(), mel_layout="speecht5")
    assert quiet(given)(noise(5000), 16000, 1, use_vocoder=True).audios.shape == (5000,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either `audio` or `mel`"),
        ({"audio": noise(100), "sampling_rate": 16000, "mel": torch.zeros(9, 80)}, "either `audio` or `mel`"),
        ({"mel": torch.zeros(9, 80), "sampling_rate": 16000}, "`sampling_rate` is that of `audio`"),
        ({"mel": torch.zeros(80, 9)}, r"`mel` must be \(frames, 80\) or a batch of them, got \(80, 9\)"),
        ({"mel": [torch.zeros(9, 80), torch.zeros(2, 9, 80)]}, r"`mel\[1\]` must be \(frames, 80\), got \(2, 9, 80\)"),
        ({"mel": []}, "empty list"),
        ({"mel": torch.zeros(0, 80)}, "`mel` is empty"),
        ({"mel": torch.full((9, 80), float("nan"))}, "NaN"),
        ({"mel": torch.zeros(9, 80), "mix": 0.5}, "`mix` is about the gain on a recording"),
        ({"mel": torch.zeros(9, 80), "output_type": "np"}, "no vocoder"),
        ({"audio": noise(100), "sampling_rate": 16000, "use_vocoder": True}, "no vocoder"),
    ],
)
def test_what_cannot_be_done_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_stage()(**({"output_type": "mel"} | arguments))
    with pytest.raises(TypeError, match="`mel` must be a numpy array or a torch tensor, got str"):
        make_stage()(mel="x", output_type="mel")


def test_two_linked_channels_through_a_vocoder_are_refused():
    stage = make_stage(make_vocoder())
    with pytest.raises(ValueError, match="independent_channels=True"):
        stage(noise(4000, channels=2), 16000, use_vocoder=True)
    with pytest.raises(ValueError, match="`attenuation_limit_db` is about the gain"):
        stage(noise(4000), 16000, use_vocoder=True, attenuation_limit_db=12.0)


def test_a_vocoder_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="mels of 128 samples per frame, these have 256"):
        make_stage(make_vocoder(128))
    with pytest.raises(ValueError, match="mels of 40 bands"):
        make_stage(make_vocoder(model_in_dim=40))
    with pytest.raises(ValueError, match="mels of 22050 samples per second"):
        make_stage(make_vocoder(sampling_rate=22050))
    with pytest.raises(ValueError, match=r"must be one of transformers'.*got UnivNetModel"):
        make_stage(UnivNetModel(UnivNetConfig(model_hidden_channels=8)))
    with pytest.raises(ValueError, match="`mel_layout` must be one of speecht5 or None, got 'bark'"):
        make_stage(mel_layout="bark")


@pytest.fixture(scope="module")
def bundled() -> SpeechEnhancementPipeline:
    return quiet(SpeechEnhancementPipeline.from_pretrained(MEL_STAGE_CHECKPOINT))


def test_the_bundled_stage_is_small_and_whole(bundled):
    files = [path for path in MEL_STAGE_CHECKPOINT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 20 * 10**6
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    assert bundled.config.mel_layout == "speecht5"
    assert bundled.vocoder is not None


def test_the_bundled_stage_mends_a_smeared_mel(bundled, speecht5_mel):
    speecht5_mel = speecht5_mel.clamp(min=-3.5)  # no recording has the digital silence of the sample
    audible = speecht5_mel > speecht5_mel.max() - 3
    smeared = smear(speecht5_mel.T, 1.5, 1.5).T
    mended = bundled(mel=smeared, output_type="mel").mels

    def error(mel):
        return float(20 * (mel - speecht5_mel)[audible].square().mean().sqrt())

    assert error(mended) < 0.97 * error(smeared)


def test_the_bundled_vocoder_speaks_the_mel(bundled, speecht5_mel):
    """What it says has the mel it was given, where that is loud."""
    with torch.no_grad():
        sound = vocoding.vocode(bundled.vocoder, speecht5_mel.T)
    again = mel_spectrogram(stft(sound[None], SPEECHT5).abs(), SPEECHT5)[0].T[: len(speecht5_mel)]
    loud = speecht5_mel > speecht5_mel.max() - 1.5
    assert 20 * (again[2:-2] - speecht5_mel[2:-2])[loud[2:-2]].abs().mean() < 8
