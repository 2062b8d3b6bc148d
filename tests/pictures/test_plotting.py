import io

import numpy as np
import pytest
from conftest import noise

from speech_enhance.pictures.plotting import GAIN_RANGE_DB, applied_gain_db, draw_comparison
from speech_enhance.pictures.strips import Strip


def labelled(figure, label: str) -> list:
    return [axis for axis in figure.axes if axis.get_label() == label and axis.get_visible()]


def test_gain_is_the_ratio_of_the_recordings():
    audio = noise(16000, channels=2)
    power, halved = (Strip.of(item, 16000).power for item in (audio, 0.5 * audio))
    np.testing.assert_allclose(applied_gain_db(power, halved), -6.02, atol=0.01)
    assert not applied_gain_db(0 * power, 0 * power).any()


@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [1, 100, 16000])
def test_panels_are_aligned_in_seconds_and_khz(num_samples):
    audio = noise(num_samples)
    figure = draw_comparison(audio, 0.1 * audio, 16000)
    figure.savefig(io.BytesIO())
    images = labelled(figure, "level") + labelled(figure, "gain")
    assert len(images) == 3
    wave = labelled(figure, "waveform")[0]
    for axis in images:
        assert axis.images[0].get_extent() == [0, num_samples / 16000, 0, 8]
        assert axis.get_xlim() == wave.get_xlim()
        assert axis.get_position().x0 == pytest.approx(wave.get_position().x0)
        assert axis.get_position().x1 == pytest.approx(wave.get_position().x1)
        assert axis.get_ylabel() == "kHz"
    assert labelled(figure, "gain")[0].get_xlabel() == "seconds"


@pytest.mark.slow
def test_several_results_side_by_side_share_their_scales(tmp_path):
    audio = noise(8000)
    figure = draw_comparison(audio, {"a": audio, "b": 0.5 * audio, "c": 0 * audio}, 16000, columns=3, dark=True)
    levels, gains = labelled(figure, "level"), labelled(figure, "gain")
    assert [axis.get_title(loc="left") for axis in levels] == ["recording", "a", "b", "c"]
    assert len(gains) == 3
    assert {axis.images[0].get_clim() for axis in gains} == {(-GAIN_RANGE_DB, 0)}
    assert len({axis.images[0].get_clim() for axis in levels}) == 1
    np.testing.assert_allclose(np.median(np.asarray(gains[1].images[0].get_array())), -6.02, atol=0.05)
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10000


def test_silence_and_wrong_shapes():
    draw_comparison(np.zeros(4000), np.zeros(4000), 16000).savefig(io.BytesIO())
    with pytest.raises(ValueError, match="'x' has 5 samples, the recording 4"):
        draw_comparison(np.ones(4), {"x": np.ones(5)}, 16000)


def test_the_gain_is_blank_where_the_recording_is_silent():
    audio = np.concatenate([np.zeros(16000, np.float32), noise(16000)])
    (gain,) = labelled(draw_comparison(audio, audio / 2, 16000), "gain")
    drawn = np.ma.getmaskarray(gain.images[0].get_array())
    middle = drawn.shape[1] // 2
    assert drawn[:, : middle - 10].all()
    assert not drawn[:, middle + 10 :].any()
