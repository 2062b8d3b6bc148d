import functools
import inspect
import json
import typing

import numpy as np
import pytest
import torch
from conftest import TINY_LAYOUT, TINY_UNET, noise, quiet

from speech_enhance import (
    DEFAULT_CHECKPOINT,
    MEL_STAGE_CHECKPOINT,
    PRESETS,
    SCHEDULERS,
    ConditionalUNet2DModel,
    SpeechEnhancementPipeline,
)
from speech_enhance.mel.spectrogram import analyse
from speech_enhance.models.schedulers import training_scheduler
from speech_enhance.pipelines.call_options import CallOptions, TupleOptions


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# What every Diffusers pipeline is expected to do


def test_save_and_load_give_equal_output(tiny_pipeline, tmp_path):
    audio = noise(9000)
    expected = tiny_pipeline(audio, 16000, generator=seeded()).audios
    tiny_pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["unet"] == ["speech_enhance", "ConditionalUNet2DModel"]
    assert not list(tmp_path.rglob("*.bin"))
    loaded = quiet(SpeechEnhancementPipeline.from_pretrained(tmp_path))
    assert type(loaded.unet) is ConditionalUNet2DModel
    assert loaded.config.window_frames == 64
    np.testing.assert_array_equal(loaded(audio, 16000, generator=seeded()).audios, expected)


def test_half_precision_folder_loads_in_single_precision(tiny_pipeline, tmp_path):
    tiny_pipeline.to(torch.float16).save_pretrained(tmp_path)
    loaded = quiet(SpeechEnhancementPipeline.from_pretrained(tmp_path))
    assert loaded.unet.dtype == torch.float32
    assert np.isfinite(loaded(noise(9000), 16000).audios).all()


@pytest.mark.slow
def test_the_half_precision_variant_is_the_plain_file_where_that_is_half(tiny_pipeline, tmp_path):
    audio = noise(9000)
    tiny_pipeline.to(torch.float16).save_pretrained(tmp_path / "half")
    expected = quiet(SpeechEnhancementPipeline.from_pretrained(tmp_path / "half"))(audio, 16000).audios
    loaded = quiet(SpeechEnhancementPipeline.from_pretrained(tmp_path / "half", variant="fp16"))
    np.testing.assert_array_equal(loaded(audio, 16000).audios, expected)
    tiny_pipeline.to(torch.float32).save_pretrained(tmp_path / "single")
    for folder, variant in (("single", "fp16"), ("half", "bf16")):
        with pytest.raises(ValueError, match=f"variant={variant}"):
            SpeechEnhancementPipeline.from_pretrained(tmp_path / folder, variant=variant)


def test_bfloat16_network(tiny_pipeline):
    audio = noise(9000)
    expected = tiny_pipeline(audio, 16000).audios
    output = tiny_pipeline.to(torch.bfloat16)(audio, 16000).audios
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, expected, atol=0.02)


def test_pickled_weights_are_refused(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path, safe_serialization=False)
    assert list(tmp_path.rglob("*.bin"))
    with pytest.raises(OSError, match="safetensors"):
        SpeechEnhancementPipeline.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="safetensors"):
        SpeechEnhancementPipeline.from_pretrained(tmp_path, use_safetensors=False)


def test_dict_and_tuple_outputs_are_equal(tiny_pipeline):
    audio = noise(3000)
    as_tuple = tiny_pipeline(audio, 16000, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert len(as_tuple) == 1
    np.testing.assert_array_equal(as_tuple[0], tiny_pipeline(audio, 16000).audios)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_its_steps_and_estimates(tiny_pipeline, preset):
    audio, before = noise(9000), tiny_pipeline.scheduler
    chosen = PRESETS[preset]
    expected = tiny_pipeline(audio, 16000, chosen.num_inference_steps, chosen.num_estimates).audios
    np.testing.assert_array_equal(tiny_pipeline(audio, 16000, preset=preset).audios, expected)
    blocks = tiny_pipeline.stream(lambda: iter([audio[None]]), 16000, preset=preset)
    np.testing.assert_allclose(np.concatenate(list(blocks), axis=1)[0], expected, atol=1e-6)
    assert tiny_pipeline.scheduler is before
    mel = np.full((80, 50), 0.5, np.float32)
    arguments = {"mel": mel, "output_type": "mel"}
    expected = tiny_pipeline(**arguments, num_inference_steps=1, num_estimates=chosen.num_estimates).mels
    torch.testing.assert_close(tiny_pipeline(**arguments, preset=preset).mels, expected)


def test_what_is_given_beside_a_preset_takes_the_place_of_its_part(tiny_pipeline):
    audio = noise(9000)
    expected = tiny_pipeline(audio, 16000, 2, 1).audios
    np.testing.assert_array_equal(tiny_pipeline(audio, 16000, 2, preset="fast").audios, expected)
    expected = tiny_pipeline(audio, 16000, 1, 2).audios
    np.testing.assert_array_equal(tiny_pipeline(audio, 16000, num_estimates=2, preset="balanced").audios, expected)


def test_a_preset_and_another_scheduler_contradict_each_other(tiny_pipeline):
    from speech_enhance import make_scheduler

    tiny_pipeline.scheduler = make_scheduler("unipc", tiny_pipeline.scheduler.config)
    with pytest.raises(ValueError, match=r"`preset` 'fast' is made for a DDIMScheduler, .* is a UniPC.*: leave out"):
        tiny_pipeline(noise(3000), 16000, preset="fast")


def test_every_preset_is_made_for_the_scheduler_of_the_bundled_models():
    for folder in (DEFAULT_CHECKPOINT, MEL_STAGE_CHECKPOINT):
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        assert {SCHEDULERS[preset.scheduler] for preset in PRESETS.values()} == {config["_class_name"]}


def test_batch_equals_single(tiny_pipeline):
    recordings = [noise(9000), noise(20000, channels=2, seed=1), noise(1, seed=2)]
    batch = tiny_pipeline(recordings, 16000, generator=[seeded(i) for i in range(3)]).audios
    assert isinstance(batch, list)
    for index, recording in enumerate(recordings):
        single = tiny_pipeline(recording, 16000, generator=seeded(index)).audios
        assert batch[index].shape == recording.shape
        np.testing.assert_allclose(batch[index], single, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmsolver++", "lcm"])
def test_window_batch_size_changes_nothing(tiny_pipeline, name):
    from speech_enhance import make_scheduler

    tiny_pipeline.scheduler = make_scheduler(name, tiny_pipeline.scheduler.config)
    audio = noise(40000)
    one = tiny_pipeline(audio, 16000, 3, window_batch_size=1).audios
    np.testing.assert_allclose(tiny_pipeline(audio, 16000, 3, window_batch_size=5).audios, one, atol=1e-5)


def test_same_seed_repeats_whatever_the_global_state(tiny_pipeline):
    audio = noise(20000)
    torch.manual_seed(1)
    first = tiny_pipeline(audio, 16000, generator=seeded(5)).audios
    torch.manual_seed(2)
    np.random.default_rng()
    assert first.tobytes() == tiny_pipeline(audio, 16000, generator=seeded(5)).audios.tobytes()
    assert not np.array_equal(first, tiny_pipeline(audio, 16000, generator=seeded(6)).audios)


def test_without_a_generator_the_result_is_fixed(tiny_pipeline):
    audio = noise(9000)
    output = tiny_pipeline(audio, 16000).audios
    assert output.tobytes() == tiny_pipeline(audio, 16000).audios.tobytes()
    assert output.tobytes() == tiny_pipeline(audio, 16000, generator=seeded(0)).audios.tobytes()
    pair = tiny_pipeline([audio, audio], 16000).audios
    np.testing.assert_allclose(pair[0], pair[1], atol=1e-6)


def test_more_steps_are_more_evaluations(tiny_pipeline, monkeypatch):
    calls = []
    forward = type(tiny_pipeline.unet).forward
    monkeypatch.setattr(
        type(tiny_pipeline.unet),
        "forward",
        lambda self, *args, **kwargs: (calls.append(1), forward(self, *args, **kwargs))[1],
    )
    tiny_pipeline(noise(3000), 16000, 7)
    assert len(calls) == 7


def test_estimates_are_averaged(tiny_pipeline):
    audio = noise(20000)
    single = [tiny_pipeline(audio, 16000, 1, 1, generator=seeded(i), output_type="mel").mels for i in range(3)]
    mean = tiny_pipeline(audio, 16000, 1, 12, output_type="mel").mels
    assert not torch.equal(single[0], mean)
    spread = (single[1] - single[2]).std()
    assert (tiny_pipeline(audio, 16000, 1, 12, generator=seeded(7), output_type="mel").mels - mean).std() < 0.5 * spread


def test_callbacks_see_and_change_the_latents(tiny_pipeline):
    seen = []

    def callback(pipe, step, timestep, tensors):
        assert pipe is tiny_pipeline
        assert set(tensors) == {"latents", "condition"}
        seen.append((step, int(timestep)))
        return {"latents": torch.ones_like(tensors["latents"])}  # a gain of 1 everywhere

    names = ["latents", "condition"]
    mel = tiny_pipeline(
        noise(3000),
        16000,
        3,
        output_type="mel",
        callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=names,
    ).mels
    assert seen == [(0, 999), (1, 666), (2, 332)]
    *_, noisy_mel = analyse(torch.from_numpy(noise(3000, channels=1)), tiny_pipeline.mel_config)
    torch.testing.assert_close(mel, noisy_mel[0])


def test_a_callback_can_stop_the_run(tiny_pipeline):
    class Stop(Exception):
        pass

    def callback(pipe, step, timestep, tensors):
        raise Stop

    with pytest.raises(Stop):
        tiny_pipeline(noise(3000), 16000, callback_on_step_end=callback)


def test_an_interrupted_file_is_not_written(tiny_pipeline, tmp_path):
    import soundfile

    from speech_enhance import AudioFileError, enhance_file

    def stop(pipe, step, timestep, tensors):
        pipe._interrupt = True

    soundfile.write(tmp_path / "in.wav", noise(9000), 16000)
    (tmp_path / "out.wav").write_bytes(b"precious")
    with pytest.raises(AudioFileError, match="is not written, since the pipeline was interrupted"):
        enhance_file(tiny_pipeline, tmp_path / "in.wav", tmp_path / "out.wav", callback_on_step_end=stop)
    assert (tmp_path / "out.wav").read_bytes() == b"precious"


@pytest.mark.parametrize("way", ["call", "stream"])
def test_an_interrupt_ends_the_run_early(tiny_pipeline, way):
    steps = []

    def callback(pipe, step, timestep, tensors):
        steps.append(step)
        pipe._interrupt = step == 1

    def run(**options):
        if way == "call":
            return tiny_pipeline(audio, 16000, 3, 1, window_batch_size=1, **options).audios
        options |= {"num_inference_steps": 3, "num_estimates": 1, "window_batch_size": 1}
        return np.concatenate(list(tiny_pipeline.stream(lambda: iter([audio[None]]), 16000, **options)), axis=1)[0]

    audio = noise(20000)
    assert (tiny_pipeline.interrupt, tiny_pipeline.num_timesteps) == (False, 0)
    whole = run()
    stopped = run(callback_on_step_end=callback)
    assert steps == [0, 1]
    assert tiny_pipeline.interrupt
    assert tiny_pipeline.num_timesteps == 3
    assert stopped.shape == whole.shape
    assert np.isfinite(stopped).all()
    assert not np.array_equal(stopped, whole)
    np.testing.assert_array_equal(run(), whole)  # the next call is not interrupted
    assert not tiny_pipeline.interrupt


def test_num_timesteps_are_the_evaluations_of_the_scheduler(tiny_pipeline):
    from speech_enhance import make_scheduler

    tiny_pipeline.scheduler = make_scheduler("heun", tiny_pipeline.scheduler.config)
    seen = []
    tiny_pipeline(noise(3000), 16000, 3, 1, callback_on_step_end=lambda pipe, *_: seen.append(pipe.num_timesteps) or {})
    assert seen == [5] * 5


def test_progress_bar_counts_every_step_of_every_batch(tiny_pipeline, capsys):
    tiny_pipeline.set_progress_bar_config(disable=False)
    tiny_pipeline(noise(40000), 16000, 3, window_batch_size=4)
    assert "100%" in capsys.readouterr().err


def test_concurrent_requests_do_not_share_scheduler_state(tiny_pipeline):
    tiny_pipeline(noise(3000), 16000, 3)
    assert tiny_pipeline.scheduler.num_inference_steps is None


def test_index_of_scalar_arguments_round_trips(tiny_unet, tmp_path):
    pipeline = SpeechEnhancementPipeline(
        tiny_unet, training_scheduler(), window_frames=96, overlap_frames=32, level=0.2
    )
    pipeline.save_pretrained(tmp_path)
    loaded = SpeechEnhancementPipeline.from_pretrained(tmp_path)
    for name, parameter in inspect.signature(SpeechEnhancementPipeline.__init__).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            assert getattr(loaded.config, name) == getattr(pipeline.config, name)
    assert loaded.mel_config.level == 0.2


def test_autocast_is_for_the_network_alone(tiny_pipeline):
    audio = noise(9000)
    expected = tiny_pipeline(audio, 16000).audios
    with torch.autocast("cpu", torch.bfloat16):
        output = tiny_pipeline(audio, 16000).audios
        mel = tiny_pipeline(audio, 16000, output_type="mel").mels
    assert output.dtype == np.float32
    assert mel.dtype == torch.float32
    assert np.abs(output - expected).max() > 0, "the network must be in half precision"
    np.testing.assert_allclose(output, expected, atol=2e-3)


@pytest.mark.parametrize("name", ["ddim", "dpmsolver++", "lms"])
def test_the_default_dtype_changes_nothing(tiny_pipeline, name):
    from speech_enhance import make_scheduler

    tiny_pipeline.scheduler = make_scheduler(name, tiny_pipeline.scheduler.config)
    audio = noise(9000)
    expected = tiny_pipeline(audio, 16000, 2).audios
    torch.set_default_dtype(torch.float64)
    try:
        output = tiny_pipeline(audio, 16000, 2).audios
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(output, expected)


def test_read_only_blocks_and_mels_bring_no_warning(tiny_pipeline):
    """As `np.frombuffer` gives them of what ffmpeg decodes; warnings are errors here."""
    audio = noise(9000, channels=1)
    expected = tiny_pipeline(audio, 16000).audios
    read_only = np.frombuffer(audio.tobytes(), np.float32)[None]
    assert not read_only.flags.writeable
    blocks = tiny_pipeline.stream(lambda: iter([read_only[:, :5000], read_only[:, 5000:]]), 16000)
    np.testing.assert_allclose(np.concatenate(list(blocks), axis=1), expected, atol=1e-6)
    mel = np.frombuffer(np.full((80, 50), 0.5, np.float32).tobytes(), np.float32).reshape(80, 50)
    assert tiny_pipeline(mel=mel, output_type="mel").mels.shape == (80, 50)


def test_whole_numbers_may_be_numpys(tiny_pipeline):
    audio = noise(3000)
    output = tiny_pipeline(audio, np.int32(16000), np.int64(2), np.uint8(3), window_batch_size=np.int16(1)).audios
    np.testing.assert_array_equal(output, tiny_pipeline(audio, 16000, 2, 3, window_batch_size=1).audios)


@pytest.mark.parametrize("way", ["call", "mel", "stream"])
def test_values_that_are_not_finite_never_come_out(tiny_pipeline, way):
    with torch.no_grad():
        for tensor in tiny_pipeline.unet.parameters():
            tensor.fill_(3e38)
    audio = noise(3000)
    calls = {
        "call": lambda: tiny_pipeline(audio, 16000),
        "mel": lambda: tiny_pipeline(audio, 16000, output_type="mel"),
        "stream": lambda: list(tiny_pipeline.stream(lambda: iter([audio[None]]), 16000)),
    }
    with pytest.raises(ValueError, match="the model gives NaN or infinite values"):
        calls[way]()


def test_steps_that_a_scheduler_cannot_make_are_told_before_the_network_runs(tiny_pipeline):
    from diffusers import DDIMScheduler

    config = {**tiny_pipeline.scheduler.config, "prediction_type": "noise"}
    tiny_pipeline.scheduler = DDIMScheduler.from_config(config)
    tiny_pipeline.unet.forward = None
    with pytest.raises(ValueError, match=r"this DDIMScheduler cannot make 2 steps \(ValueError: prediction_type given"):
        tiny_pipeline(noise(3000), 16000, 2)


# What this pipeline does


@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [1, 127, 128, 129, 165920])
def test_any_length(tiny_pipeline, num_samples):
    output = tiny_pipeline(noise(num_samples), 16000, 1).audios
    assert output.shape == (num_samples,)
    assert np.isfinite(output).all()


@pytest.mark.parametrize("shape", [(5000,), (1, 5000), (2, 5000), (6, 5000), (3, 1, 5000), (2, 2, 5000)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_shapes_and_dtypes_of_arrays(tiny_pipeline, shape, dtype):
    audio = (0.1 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    output = tiny_pipeline(audio, 16000, 1).audios
    assert isinstance(output, np.ndarray)
    assert output.shape == shape
    assert output.dtype == np.float32


def test_tensors_in_and_out(tiny_pipeline):
    audio = noise(5000, channels=2)
    expected = tiny_pipeline(audio, 16000, 1).audios
    output = tiny_pipeline(torch.from_numpy(audio), 16000, 1, output_type="pt").audios
    assert torch.is_tensor(output)
    np.testing.assert_array_equal(output.numpy(), expected)
    batch = tiny_pipeline(torch.from_numpy(audio)[None], 16000, 1, output_type="pt").audios
    assert batch.shape == (1, 2, 5000)


def test_mel_output(tiny_pipeline):
    mel = tiny_pipeline(noise(5000), 16000, 1, output_type="mel").mels
    assert mel.shape == (80, tiny_pipeline.mel_config.num_frames(5000))
    assert mel.min() >= 0
    assert len(tiny_pipeline([noise(500), noise(700)], 16000, 1, output_type="mel").mels) == 2


@pytest.mark.parametrize("sampling_rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_network_that_changes_nothing_gives_the_recording_back(oracle_pipeline, sampling_rate, channels):
    audio = noise(3 * sampling_rate + 17, channels=channels)
    output = oracle_pipeline(audio, sampling_rate, 2).audios
    np.testing.assert_allclose(output, audio, atol=1e-4)


def test_estimates_see_the_recording_at_warped_frequencies_and_their_gains_are_averaged(oracle_pipeline):
    """Of three tones a network that removes the upper bands leaves the first, in half of the estimates the second."""
    tones = [2 * np.pi * frequency * np.arange(32000) / 16000 for frequency in (1000, 3300, 5500)]
    audio = np.sum(np.sin(tones), axis=0, dtype=np.float32) / 4
    oracle_pipeline.unet.share = (torch.arange(80) < 60).float()[:, None]  # the bands up to 3.7 kHz
    for num_estimates, share in ((1, 1), (2, 0.5), (4, 0.5)):
        output = oracle_pipeline(audio, 16000, 1, num_estimates).audios
        left = [abs(output[8000:24000] @ np.exp(1j * tone[8000:24000])) / 2000 for tone in tones]
        np.testing.assert_allclose(left, [1, share, 0], atol=0.03)


def test_what_is_turned_down_is_turned_down_at_every_rate(oracle_pipeline):
    """A network that halves the mel must turn down the band above the model's too."""
    oracle_pipeline.unet.share = 0.5
    expected_db = 20 * np.log10(0.5 ** (1 / 0.3))
    for sampling_rate in (8000, 11025, 16000, 44100, 96000):
        audio = noise(2 * sampling_rate)
        output = oracle_pipeline(audio, sampling_rate, 1).audios
        inner = slice(sampling_rate // 4, -sampling_rate // 4)
        after, before = (np.square(np.abs(np.fft.rfft(x[inner]))) for x in (output, audio))
        for band in np.array_split(np.arange(len(before)), 20):
            change_db = 10 * np.log10(after[band].sum() / before[band].sum())
            assert change_db == pytest.approx(expected_db, abs=0.5)


def test_level_of_the_input_does_not_matter(tiny_pipeline):
    audio = noise(20000)
    output = tiny_pipeline(audio, 16000, 1).audios
    np.testing.assert_allclose(tiny_pipeline(audio * 1e-3, 16000, 1).audios * 1e3, output, atol=1e-4)


def test_channels_share_one_gain(tiny_pipeline):
    mono = noise(20000)
    stereo = tiny_pipeline(np.stack([mono, -0.5 * mono]), 16000, 1).audios
    assert np.abs(stereo).max() > 0.01
    np.testing.assert_allclose(stereo[1], -0.5 * stereo[0], atol=1e-6)


def test_silence_stays_silent(tiny_pipeline):
    assert not tiny_pipeline(np.zeros(20000, np.float32), 16000).audios.any()


def test_attenuation_limit_and_mix(oracle_pipeline):
    oracle_pipeline.unet.share = 0.0
    audio = noise(16000)
    np.testing.assert_allclose(oracle_pipeline(audio, 16000, 1).audios, 0, atol=2e-3)
    limited = oracle_pipeline(audio, 16000, 1, attenuation_limit_db=6.0).audios
    np.testing.assert_allclose(limited, audio * 10 ** (-6 / 20), atol=1e-4)
    mixed = oracle_pipeline(audio, 16000, 1, mix=0.25).audios
    np.testing.assert_allclose(mixed, 0.75 * audio, atol=1e-3)
    np.testing.assert_array_equal(oracle_pipeline(audio, 16000, 1, mix=0.0).audios, audio)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"audio": [0.1, 0.2]}, TypeError, r"`audio\[0\]` must be a numpy array"),
        ({"audio": "noisy.wav"}, TypeError, "got str"),
        ({"audio": []}, ValueError, "empty list"),
        ({"audio": np.zeros((2, 0), np.float32)}, ValueError, "is empty"),
        ({"audio": np.zeros(100, np.int16)}, TypeError, "int16"),
        ({"audio": np.zeros((1, 1, 1, 9), np.float32)}, ValueError, r"\(samples,\), \(channels, samples\)"),
        ({"audio": np.zeros((100, 2), np.float32)}, ValueError, "transpose"),
        ({"audio": np.array([0.0, np.nan], np.float32)}, ValueError, "NaN"),
        ({"audio": torch.tensor([0.0, float("inf")])}, ValueError, "infinite"),
        ({"sampling_rate": None}, ValueError, "`sampling_rate`.*None"),
        ({"sampling_rate": 0}, ValueError, "`sampling_rate`.*0"),
        ({"sampling_rate": 16000.0}, ValueError, "`sampling_rate`"),
        ({"num_inference_steps": 0}, ValueError, "`num_inference_steps`.*0"),
        ({"num_inference_steps": 1001}, ValueError, "at most 1000"),
        ({"num_inference_steps": True}, ValueError, "`num_inference_steps`.*True"),
        ({"num_estimates": np.float32(2)}, ValueError, "`num_estimates`"),
        ({"mix": "1"}, TypeError, "`mix` must be a number, got '1'"),
        ({"max_gain": None}, TypeError, "`max_gain` must be a number, got None"),
        ({"num_inference_steps": 2.5}, ValueError, "`num_inference_steps`"),
        ({"window_batch_size": 0}, ValueError, "`window_batch_size`"),
        ({"attenuation_limit_db": -1.0}, ValueError, "`attenuation_limit_db`"),
        ({"mix": 1.5}, ValueError, "`mix`"),
        ({"mix": float("nan")}, ValueError, "`mix`"),
        ({"max_gain": 0.5}, ValueError, "`max_gain`"),
        ({"preset": "turbo"}, ValueError, "unknown preset 'turbo'; choose from fast, balanced"),
        ({"preset": ["fast"]}, ValueError, "unknown preset"),
        ({"output_type": "wav"}, ValueError, "`output_type`"),
        ({"generator": [torch.Generator(), torch.Generator()]}, ValueError, "list of 2 for 1"),
        ({"generator": 42}, TypeError, "`generator` must be a torch.Generator.*42"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, ValueError, "noise"),
    ],
)
def test_wrong_arguments_are_named(tiny_pipeline, arguments, error, message):
    with pytest.raises(error, match=message):
        tiny_pipeline(**{"audio": noise(1000), "sampling_rate": 16000, **arguments})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"noise_floor_block": 0}, "`noise_floor_block` must be from 8 to"),
        ({"noise_floor_block": 20}, "`noise_floor_block` must be a multiple of 8"),
        ({"noise_floor_span": 32}, "`noise_floor_span` must be a multiple of 8 and at least 64"),
        ({"window_frames": 64.0}, "`window_frames` must be a whole number, got 64.0"),
        ({"with_noise_floor": 1}, "`with_noise_floor` must be a truth value, got 1"),
        ({"gain_exponent": float("nan")}, "`gain_exponent` must be from 0.01 to 100, got nan"),
        ({"gain_exponent": float("inf")}, "`gain_exponent` must be from 0.01 to 100, got inf"),
        ({"level": "0.1"}, "`level` must be a number, got '0.1'"),
        ({"num_views": 10**9}, "`num_views` must be from 1 to 64"),
        ({"num_mel_bins": 1024, "n_fft": 2**14}, "`n_fft` × `num_mel_bins` × `num_views` must be at most"),
        ({"target": "noise"}, "`target` must be"),
    ],
)
def test_wrong_settings_of_a_model_are_named(tiny_unet, setting, message):
    with pytest.raises(ValueError, match=message):
        SpeechEnhancementPipeline(tiny_unet, training_scheduler(), **setting)


@pytest.mark.parametrize("wrong", [{"num_views": 0}, {"num_views": 2, "frequency_warp": 0.9}])
def test_wrong_views_are_refused(tiny_unet, wrong):
    with pytest.raises(ValueError, match=f"`{list(wrong)[-1]}` must be"):
        SpeechEnhancementPipeline(tiny_unet, training_scheduler(), **wrong)


def test_windows_off_the_networks_grid_are_refused(tiny_unet):
    with pytest.raises(ValueError, match="multiple of 16"):
        SpeechEnhancementPipeline(tiny_unet, training_scheduler(), window_frames=64, overlap_frames=10)
    with pytest.raises(ValueError, match="at most half"):
        SpeechEnhancementPipeline(tiny_unet, training_scheduler(), window_frames=64, overlap_frames=48)


def test_a_model_with_a_dial_for_reverberation_is_told_its_value():
    torch.manual_seed(0)
    unet = ConditionalUNet2DModel(**TINY_UNET | {"in_channels": 160}).eval()
    pipeline = quiet(SpeechEnhancementPipeline(unet, training_scheduler(), **TINY_LAYOUT, with_dereverb=True))
    shown = []

    def keep(pipe, step, timestep, tensors):
        shown.append(tensors["condition"][:, -1])

    seen = {"callback_on_step_end": keep, "callback_on_step_end_tensor_inputs": ["condition"]}
    pipeline(noise(3000), 16000, 1, 1, dereverb=0.75, **seen)
    first = shown[0][..., : 3000 // 128 + 1]
    assert (first == 0.75).all()
    blocks = functools.partial(iter, [noise(3000)[None]])
    list(pipeline.stream(blocks, 16000, num_inference_steps=1, num_estimates=1, dereverb=0.25, **seen))
    assert shown[-1].max() == 0.25


@pytest.mark.parametrize(("value", "message"), [(0.5, "not trained to remove reverberation"), (-1, "between 0 and 1")])
def test_a_dial_that_a_model_does_not_have_or_out_of_range_is_refused(tiny_pipeline, value, message):
    with pytest.raises(ValueError, match=message):
        tiny_pipeline(noise(3000), 16000, dereverb=value)


def test_type_checkers_know_every_keyword_of_a_call():
    parameters = inspect.signature(SpeechEnhancementPipeline.__call__).parameters
    spelled = {"self", "audio", "sampling_rate", "return_dict"}
    assert typing.get_type_hints(TupleOptions).keys() == parameters.keys() - spelled
    of_array, of_list, _, of_tuple = typing.get_overloads(SpeechEnhancementPipeline.__call__)
    for overload, options in ((of_array, CallOptions), (of_list, CallOptions), (of_tuple, TupleOptions)):
        assert overload.__annotations__["named"] == typing.Unpack[options]
