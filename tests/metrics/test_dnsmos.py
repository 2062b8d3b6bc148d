import numpy as np
import pytest
from conftest import noise

from speech_enhance.metrics.dnsmos import DNSMOS, POLYNOMIALS, SEGMENT_SAMPLES, segments


def save_network(path, samples: int = SEGMENT_SAMPLES, input_name: str = "input_1", outputs: int = 3) -> str:
    """A network of the interface of DNSMOS P.835, which answers the first three samples of its segment."""
    from onnx import TensorProto, helper, save

    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("start", 0), ("end", outputs), ("axis", 1))
    ]
    graph = helper.make_graph(
        [helper.make_node("Slice", [input_name, "start", "end", "axis"], ["scores"])],
        "rater",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", samples])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", outputs])],
        constants,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


def test_scores_are_means_over_segments_of_the_polynomials(tmp_path):
    rater = DNSMOS(save_network(tmp_path / "network.onnx"))
    audio = noise(11 * 16000)
    audio[:3], audio[16000:16003] = (3, 4, 2), (1, 2, 3)
    scores = rater(audio)
    assert list(scores) == ["sig", "bak", "ovrl"]
    for name, raw in {"sig": (3, 1), "bak": (4, 2), "ovrl": (2, 3)}.items():
        square, linear, constant = POLYNOMIALS[name]
        expected = np.mean([square * value**2 + linear * value + constant for value in raw])
        assert scores[name] == pytest.approx(expected, rel=1e-5)
    assert rater(audio) == scores


def test_published_polynomials():
    """Clean speech that the network rates 4, 4, 4 is published as 3.54, 3.93, 3.43."""
    assert np.polyval(POLYNOMIALS["sig"], 4) == pytest.approx(3.545, abs=1e-3)
    assert np.polyval(POLYNOMIALS["bak"], 4) == pytest.approx(3.934, abs=1e-3)
    assert np.polyval(POLYNOMIALS["ovrl"], 4) == pytest.approx(3.425, abs=1e-3)


def test_short_recordings_are_repeated(tmp_path):
    audio = noise(50000)
    (part,) = segments(audio)[:1]
    assert part.shape == (SEGMENT_SAMPLES,)
    np.testing.assert_array_equal(part, np.tile(audio, 3)[:SEGMENT_SAMPLES])
    assert len(segments(noise(1))) > 0


@pytest.mark.parametrize(("seconds", "starts"), [(10, 1), (11, 2), (15, 6), (16, 7), (20, 7), (33, 7), (34, 8)])
def test_segments_are_those_of_the_published_script(seconds, starts):
    audio = np.arange(16000 * seconds, dtype=np.float32)
    parts = segments(audio)
    expected = [start for start in range(seconds - 9) if not 7 <= start <= 23]
    assert [part[0] / 16000 for part in parts] == expected[:starts]
    assert len(parts) == starts


@pytest.mark.slow
def test_without_a_file_the_network_of_speechmos_rates(sample_pair):
    """Its scores are those with the file, and the published ones of silence."""
    from importlib.metadata import distribution

    noisy, clean = (np.resize(audio, SEGMENT_SAMPLES) for audio in sample_pair)  # one segment each
    rater = DNSMOS()
    scores = rater(clean)
    path = distribution("speechmos").locate_file("speechmos/dnsmos_models/sig_bak_ovr.onnx")
    assert DNSMOS(path)(clean) == scores
    assert scores["ovrl"] > rater(noisy)["ovrl"] + 0.3
    silence = rater(np.zeros(SEGMENT_SAMPLES))
    assert silence == {
        name: pytest.approx(value, abs=0.01) for name, value in zip(scores, (2.51, 3.47, 1.84), strict=True)
    }


def test_without_a_file_and_without_speechmos_the_command_is_named(monkeypatch):
    from importlib import metadata

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ImportError, match="speechmos is missing; install it: pip install speechmos"):
        DNSMOS()


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx: no such file; DNSMOS needs `sig_bak_ovr\.onnx`"):
        DNSMOS(tmp_path / "gone.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ValueError, match=r"text\.onnx: cannot be read as an ONNX model"):
        DNSMOS(tmp_path / "text.onnx")
    for number, wrong in enumerate(({"samples": 16000}, {"input_name": "audio"}, {"outputs": 1})):
        path = save_network(tmp_path / f"{number}.onnx", **wrong)
        with pytest.raises(ValueError, match=rf"{number}\.onnx: not the DNSMOS P\.835 network: expected input_1"):
            DNSMOS(path)


def test_wrong_audio_is_refused(tmp_path):
    rater = DNSMOS(save_network(tmp_path / "network.onnx"))
    with pytest.raises(ValueError, match="16000"):
        rater(noise(48000), sampling_rate=48000)
    with pytest.raises(ValueError, match="not empty"):
        rater(np.zeros(0))
    with pytest.raises(ValueError, match=r"\(2, 100\)"):
        rater(noise(100, channels=2))
    with pytest.raises(ValueError, match="NaN"):
        rater(np.array([np.nan]))
