"""Live sound in Python: delay, blocks, wrong input, settings."""

import re

import numpy as np
import pytest
import torch
from conftest import (
    ROOT,
    TINY_LAYOUT,
    TINY_UNET,
    OracleUNet,
    make_tiny_pipeline,
    make_tiny_unet,
    noise,
    quiet,
    spectrum_share,
)

from speech_enhance import DEFAULT_CHECKPOINT, LATENCIES, LiveTiming, SpeechEnhancementPipeline
from speech_enhance.models.schedulers import training_scheduler

SHORT = LiveTiming(look_ahead_ms=32, interval_ms=64, window_ms=512)


@pytest.fixture(scope="module")
def tiny():
    return quiet(make_tiny_pipeline())


@pytest.fixture(scope="module")
def oracle():
    return quiet(SpeechEnhancementPipeline(OracleUNet(**TINY_UNET), training_scheduler(), **TINY_LAYOUT))


def enhanced(live, audio: np.ndarray, cuts=()) -> np.ndarray:
    """All that comes out for `audio (..., samples)`, the delay included."""
    blocks = np.split(audio, cuts, axis=-1)
    return np.concatenate([*(live.process(block) for block in blocks), live.flush()], axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize("sampling_rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("latency", [*LATENCIES, LiveTiming(0, 8, 512)])
def test_a_network_that_changes_nothing_gives_the_sound_back_later(oracle, sampling_rate, latency):
    audio = noise(sampling_rate + 77, channels=2) + np.float32([[0.1], [0.0]])
    live = oracle.live(sampling_rate, latency, num_inference_steps=2)
    output = enhanced(live, audio, [1000, 1001, 7000])
    assert output.dtype == np.float32
    np.testing.assert_allclose(output[:, live.latency :], audio, atol=1e-4)
    assert not output[:, : live.latency].any()


@pytest.mark.slow
@pytest.mark.parametrize("sampling_rate", [16000, 44100, 48000])
@pytest.mark.parametrize("channels", [None, 2])
def test_the_blocks_do_not_matter(tiny, sampling_rate, channels):
    audio = noise(sampling_rate + 77, channels)
    live = tiny.live(sampling_rate, SHORT, num_estimates=3, attenuation_limit_db=20)
    whole = enhanced(live, audio)
    assert np.abs(whole[..., live.latency :] - audio).max() > 0.01
    rng = np.random.default_rng(sampling_rate)
    for num_cuts in (5, 200):
        cuts = np.sort(rng.integers(0, audio.shape[-1], num_cuts))
        np.testing.assert_allclose(enhanced(live, audio, cuts), whole, atol=1e-5)


@pytest.mark.parametrize("sampling_rate", [16000, 48000])
def test_every_sample_comes_as_soon_as_promised_and_knows_nothing_of_the_future(tiny, sampling_rate):
    """What comes after a block does not change what came out with it."""
    audio = noise(sampling_rate)
    live = tiny.live(sampling_rate, SHORT)
    begun = live.process(audio[:30001]) if sampling_rate > 30001 else live.process(audio[:9001])
    live.reset()
    whole = live.process(audio)
    np.testing.assert_allclose(whole[: len(begun)], begun, atol=1e-6)


def test_it_is_what_the_pipeline_makes_of_a_recording_up_to_then(tiny):
    """With a window and an interval as long as the sound, the network sees what it sees in a recording of constant
    level."""
    audio = np.tile(noise(512), 16)  # 64 frames, all alike
    timing = LiveTiming(look_ahead_ms=0, interval_ms=512, window_ms=512)
    live = tiny.live(16000, timing)
    output = enhanced(live, audio)[live.latency :]
    expected = tiny(audio, 16000, 1, 1).audios
    np.testing.assert_allclose(output[512:-2048], expected[512:-2048], atol=0.02)
    assert np.abs(expected - audio).max() > 0.1


@pytest.mark.slow
def test_the_noise_comes_from_the_generator(tiny):
    audio = noise(16000)
    make = lambda seed: tiny.live(16000, SHORT, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    first = enhanced(make(1), audio)
    np.testing.assert_array_equal(first, enhanced(make(1), audio))
    assert np.abs(first - enhanced(make(2), audio)).max() > 1e-3
    np.testing.assert_array_equal(enhanced(make(0), audio), enhanced(tiny.live(16000, SHORT), audio))


def test_reset_and_flush_begin_anew(tiny):
    audio = noise(16000, channels=2)
    live = tiny.live(16000, SHORT)
    first = enhanced(live, audio)
    np.testing.assert_array_equal(enhanced(live, audio), first)
    live.process(noise(7000, channels=2, seed=5))
    live.reset()
    assert live.num_calls == 0
    np.testing.assert_array_equal(enhanced(live, audio), first)
    assert live.flush().shape == (0,)


@pytest.mark.parametrize(
    ("block", "error", "message"),
    [
        ([0.0], TypeError, "`block` must be a numpy array, got list"),
        (np.zeros(10, np.int16), TypeError, "divide int16 by 32768"),
        (np.zeros((2, 0), np.int16), TypeError, "divide int16 by 32768"),
        (
            np.zeros((1, 2, 3), np.float32),
            ValueError,
            r"must be \(samples,\), \(channels, samples\), got shape \(1, 2, 3\)",
        ),
        (np.float32(1), TypeError, "numpy array"),
        (np.full((2, 4), np.nan, np.float32), ValueError, "NaN or infinite"),
        (np.full((2, 4), np.inf, np.float32), ValueError, "NaN or infinite"),
        (np.full((2, 4), 1e300), ValueError, "too large"),
        (np.zeros((3, 5), np.float32), ValueError, "has 3 channels, the blocks before had 2"),
        (np.zeros(5, np.float32), ValueError, "has 1 channels, the blocks before had 2"),
        (np.zeros((100, 2), np.float32), ValueError, "transpose it"),
    ],
)
def test_a_bad_block_changes_nothing(tiny, block, error, message):
    audio = noise(16000, channels=2)
    live = tiny.live(16000, SHORT)
    expected = enhanced(live, audio)
    begun = live.process(audio[:, :5000])
    with pytest.raises(error, match=message) as caught:
        live.process(block)
    assert "\n" not in str(caught.value)
    rest = [live.process(audio[:, 5000:]), live.flush()]
    np.testing.assert_array_equal(np.concatenate([begun, *rest], axis=1)[:, -9000:], expected[:, -9000:])


def test_a_bad_first_block_changes_nothing(tiny):
    live = tiny.live(16000, SHORT)
    with pytest.raises(ValueError, match="NaN"):
        live.process(np.full((3, 9), np.nan, np.float32))
    assert live.process(noise(100, channels=2)).shape == (2, 100)


@pytest.mark.slow
def test_blocks_of_no_one_and_a_million_samples(tiny):
    live = tiny.live(16000, "quality")
    assert live.process(np.zeros((4, 0), np.float32)).shape == (4, 0)
    assert live.process(np.zeros(0, np.float32)).shape == (0,)
    assert live.process(noise(1)).shape == (1,)
    assert live.process(noise(1, channels=1)).shape == (1, 1)
    assert live.process(np.zeros((1, 0))).shape == (1, 0)
    output = live.process(noise(10**6).astype(np.float64))
    assert output.shape == (10**6,)
    assert output.dtype == np.float32
    assert live.flush().shape == (live.latency,)


@pytest.mark.slow
def test_memory_does_not_grow(tiny):
    """Buffers hold no more in the second half than in the first."""
    live = tiny.live(48000, SHORT)
    sizes = []
    for number in range(1300):
        live.process(noise(480, channels=2, seed=number % 7))
        if number >= 500 and number % 20 == 0:
            sizes.append(_held(live._stream))
    assert max(sizes[len(sizes) // 2 :]) <= max(sizes[: len(sizes) // 2])
    assert max(sizes) < 300_000


def _held(item, seen=None) -> int:
    """Numbers in all arrays and tensors of an object's own parts."""
    seen = set() if seen is None else seen
    if id(item) in seen or isinstance(item, (SpeechEnhancementPipeline, type)):
        return 0
    seen.add(id(item))
    if isinstance(item, np.ndarray):
        return item.size
    if torch.is_tensor(item):
        return item.numel()
    if isinstance(item, (list, tuple)) or type(item).__name__ == "deque":
        return sum(_held(part, seen) for part in item) + len(item)
    if hasattr(item, "__dict__") and type(item).__module__.startswith("speech_enhance"):
        return sum(_held(part, seen) for part in vars(item).values())
    return 0


def test_the_limit_and_the_mix_bound_what_is_taken_away(oracle):
    audio = noise(32000)
    oracle.unet.share = 0.01
    try:
        for settings, gain in ({}, 0.01**1.0), ({"attenuation_limit_db": 12}, 10 ** (-12 / 20)), ({"mix": 0.5}, 0.505):
            live = oracle.live(16000, SHORT, **settings)
            output = enhanced(live, audio)[live.latency :][4000:-4000]
            assert np.std(output) / np.std(audio) == pytest.approx(gain, rel=0.1, abs=0.03)
    finally:
        oracle.unet.share = 1.0


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_the_band_above_the_model_has_the_gain_of_the_upper_bands(oracle, share):
    audio = noise(48000)
    oracle.unet.share = share
    try:
        live = oracle.live(48000, SHORT)
        output = enhanced(live, audio)[live.latency :]
    finally:
        oracle.unet.share = 1.0
    before, after = (np.abs(np.fft.rfft(item[4800:-4800])) for item in (audio, output))
    above = slice(len(before) * 10 // 24, len(before) * 20 // 24)
    assert np.sqrt((after[above] ** 2).sum() / (before[above] ** 2).sum()) == pytest.approx(
        _gain(oracle, share), abs=0.04
    )


def _gain(pipeline, share: float) -> float:
    """Gain of a network whose clean mel is `share` of the noisy one in the compressed domain."""
    return share ** (1 / pipeline.config.mel_power)


def test_output_above_full_scale_is_turned_down_and_counted(oracle):
    audio = 0.5 * np.sin(np.arange(32000) / 20, dtype=np.float32)
    audio[16000:17000] *= 3
    live = oracle.live(16000, SHORT)
    output = np.concatenate([live.process(np.stack([audio, 0.1 * audio]))[:, live.latency :]], axis=1)
    assert np.abs(output).max() <= 1
    assert 100 < live.limited < 1000
    np.testing.assert_allclose(output[:, :15000], np.stack([audio, 0.1 * audio])[:, :15000], atol=1e-4)
    np.testing.assert_allclose(output[0, :28000], 10 * output[1, :28000], atol=1e-4)  # the image stays
    assert spectrum_share(output[0, 16000:17000], 0, 1000) > 0.98  # it is no clipping
    np.testing.assert_allclose(output[0, 26000:], audio[26000 : len(output[0])], atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"latency": "soon"}, ValueError, "`latency` must be one of low, quality"),
        ({"latency": 100}, ValueError, "`latency` must be"),
        ({"latency": LiveTiming(400, 400, 512)}, ValueError, "do not fit into a window of"),
        ({"sampling_rate": 10}, ValueError, "`sampling_rate`"),
        ({"num_estimates": 0}, ValueError, "`num_estimates`"),
        ({"mix": 2}, ValueError, "`mix`"),
        ({"dereverb": 1.0}, ValueError, "not trained to remove reverberation"),
        ({"preset": "nice"}, ValueError, "unknown preset"),
        ({"independent_channels": True}, TypeError, "no setting `independent_channels`"),
        ({"nonsense": True}, TypeError, "no setting `nonsense`"),
        ({"generator": 5}, TypeError, "`generator`"),
    ],
)
def test_wrong_settings_are_refused(tiny, arguments, error, message):
    with pytest.raises(error, match=message):
        tiny.live(**({"sampling_rate": 16000} | arguments))


@pytest.mark.parametrize("times", [(-1, 8, 512), (0, 0, 512), (0, 8, float("nan")), ("0", 8, 512)])
def test_wrong_times_are_refused(times):
    with pytest.raises(ValueError, match="_ms` must be a number of milliseconds"):
        LiveTiming(*times)


def test_a_preset_brings_its_steps_and_estimates(tiny):
    audio = noise(8000)
    named = enhanced(tiny.live(16000, SHORT, preset="balanced"), audio)
    np.testing.assert_array_equal(named, enhanced(tiny.live(16000, SHORT, num_estimates=3), audio))
    assert np.abs(named - enhanced(tiny.live(16000, SHORT), audio)).max() > 1e-3


def test_a_broken_network_says_so():
    unet = make_tiny_unet()
    with torch.no_grad():
        unet.conv_in.weight.fill_(float("nan"))
    pipeline = quiet(SpeechEnhancementPipeline(unet, training_scheduler(), **TINY_LAYOUT))
    with pytest.raises(ValueError, match="NaN or infinite values"):
        pipeline.live(16000, SHORT).process(noise(16000))


def test_an_earlier_interrupt_does_not_stop_it(tiny):
    audio = noise(8000)
    expected = enhanced(tiny.live(16000, SHORT), audio)
    tiny._interrupt = True
    try:
        np.testing.assert_array_equal(enhanced(tiny.live(16000, SHORT), audio), expected)
    finally:
        tiny._interrupt = False


@pytest.mark.slow
def test_an_offset_changes_nothing_but_itself(tiny):
    audio = noise(80000)
    live = tiny.live(16000, SHORT)
    plain, shifted = enhanced(live, audio), enhanced(live, audio + np.float32(0.3))
    difference = (shifted - plain)[live.latency :]
    np.testing.assert_allclose(difference[8000:-4000], 0.3, atol=2e-3)


@pytest.mark.slow
def test_the_example_of_the_page_runs_and_its_delays_are_true(monkeypatch):
    text = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(ROOT)
    names = {}
    exec(example.replace("noisy.audio, 300", "noisy.audio[:, :24000], 30"), names)
    assert names["enhanced"].shape == (1, 24000)

    def delays(pipeline, latency) -> str:
        return ", ".join(f"{1000 * pipeline.live(rate, latency).latency / rate:.0f}" for rate in (16000, 48000))

    assert f"| {delays(names['pipe'], 'low')} ms |" in text
    files = quiet(SpeechEnhancementPipeline.from_pretrained(DEFAULT_CHECKPOINT))
    for name in LATENCIES:
        assert f"| `{name}` | {delays(files, name)} ms |" in text
    assert f"{delays(files, LiveTiming(32, 64, 1024)).split()[1]} ms." in text
    assert "latency` (60 ms)" in (ROOT / "README.md").read_text(encoding="utf-8")
