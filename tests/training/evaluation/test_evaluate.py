import json
import sys

import numpy as np
import pytest
import soundfile
from conftest import noise

from speech_enhance.models.int8 import recording_int8_ranges
from training.evaluation.evaluate import main, markdown, noise_reduction_db, score, summarise
from training.evaluation.reports import write_report
from training.evaluation.systems import true_mel, untouched
from training.validation import Pair


@pytest.fixture
def pair() -> Pair:
    clean = noise(32000)
    clean[:16000] = 0
    return Pair("a", clean + 0.1 * noise(32000, seed=1), clean, {"snr_db": 20.0, "speaker_id": "x"})


def test_noise_reduction_looks_at_pauses_only(pair):
    assert noise_reduction_db(pair.noisy, pair) == pytest.approx(0)
    halved_in_pauses = pair.noisy.copy()
    halved_in_pauses[:16384] *= 0.5
    assert noise_reduction_db(halved_in_pauses, pair) == pytest.approx(6.02, abs=0.01)
    halved_in_speech = pair.noisy.copy()
    halved_in_speech[16384:] *= 0.5
    assert noise_reduction_db(halved_in_speech, pair) == pytest.approx(0, abs=0.01)
    assert np.isnan(noise_reduction_db(pair.noisy, Pair("b", pair.noisy, noise(32000), {})))


def test_a_report_has_intervals_gains_and_groups(pair, tmp_path):
    other = Pair("b", pair.clean + 0.3 * noise(32000, seed=2), pair.clean, {"snr_db": 10.0, "speaker_id": "x"})
    results = {
        "noisy": score(untouched([pair, other]), [pair, other]),
        "ceiling": score(true_mel([pair, other]), [pair, other]),
    }
    summary = summarise(results["ceiling"])
    values = [row["si_sdr"] for row in results["ceiling"]]
    assert summary["si_sdr"]["mean"] == pytest.approx(np.mean(values))
    assert summary["si_sdr"]["low"] == pytest.approx(min(values))
    assert summary["si_sdr"]["count"] == 2
    text = markdown(results, "ceiling", "title")
    assert "| ceiling |" in text
    assert "## What ceiling gains over the others" in text
    assert "| system | 10.0 (1 files) | 20.0 (1 files) |" in text
    assert "speaker_id" not in text  # one group says nothing
    gain = np.mean([row["si_sdr"] for row in results["ceiling"]]) - np.mean([row["si_sdr"] for row in results["noisy"]])
    assert f"{gain:+.1f} [" in text
    write_report(str(tmp_path / "new" / "report"), {**results, "odd": [{"x": float("inf"), "y": float("nan")}]}, text)
    stored = json.loads((tmp_path / "new" / "report.json").read_text(), parse_constant=pytest.fail)
    assert stored["odd"] == [{"x": "inf", "y": "nan"}]
    assert stored["noisy"][0]["id"] == "a"
    report = (tmp_path / "new" / "report.md").read_text()
    assert report.startswith(text.rstrip())
    assert "at commit" in report


@pytest.fixture
def paired_folders(tmp_path):
    """Two recordings of two seconds under `clean` and `noisy`."""
    for name, seed in {"first": 0, "second": 1}.items():
        clean = noise(32000, seed=seed) * np.abs(np.sin(np.arange(32000) / 2000)).astype(np.float32)
        for folder, audio in {"clean": clean, "noisy": clean + 0.3 * noise(32000, seed=7)}.items():
            (tmp_path / "pairs" / folder).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "pairs" / folder / f"{name}.wav", audio, 16000, subtype="FLOAT")
    return tmp_path / "pairs"


@pytest.mark.slow
def test_every_system_goes_through_the_same_code(paired_folders, tiny_pipeline, tmp_path, capsys):
    tiny_pipeline.save_pretrained(tmp_path / "model")
    model = str(tmp_path / "model")
    options = ["--pairs", str(paired_folders), "--model", model, "--output", str(tmp_path / "report")]
    stored = ["--system", f"copied={paired_folders / 'noisy'}"]
    main(
        [
            *options,
            *stored,
            "--other-model",
            f"again={model}",
            "--steps",
            "1",
            "--presets",
            "fast",
            "--save",
            str(tmp_path / "out"),
        ]
    )
    results = json.loads((tmp_path / "report.json").read_text())
    assert set(results) > {
        "untouched",
        "spectral_gating",
        "log_mmse",
        "rnnoise",
        "webrtc",
        "true_mel",
        "copied",
        "again",
        "ours, fast",
    }
    assert results["copied"] == results["untouched"]
    assert results["again"] == results["ours, ddim, 1 step"]
    assert results["true_mel"]["summary"]["si_sdr"]["mean"] > results["untouched"]["summary"]["si_sdr"]["mean"]
    saved, _ = soundfile.read(tmp_path / "out" / "ours, fast" / "second.wav", dtype="float32")
    main(
        [
            "--pairs",
            str(paired_folders),
            "--systems",
            "--presets",
            "--system",
            f"saved={tmp_path / 'out' / 'ours, fast'}",
            "--output",
            str(tmp_path / "again"),
        ]
    )
    assert json.loads((tmp_path / "again.json").read_text())["saved"] == results["ours, fast"]
    assert len(saved) == 32000


@pytest.mark.slow
def test_the_dial_for_reverberation_beside_the_model_without_it(paired_folders, dial_model, tmp_path):
    options = ["--pairs", str(paired_folders), "--systems", "--presets", "fast", "--dereverb", "0", "1"]
    main([*options, "--model", str(dial_model), "--output", str(tmp_path / "report")])
    results = json.loads((tmp_path / "report.json").read_text())
    assert results["ours, dereverb 0"] == results["ours, fast"] != results["ours, dereverb 1"]


@pytest.mark.slow
def test_number_formats_beside_single_precision(paired_folders, tiny_pipeline, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    options = ["--pairs", str(paired_folders), "--systems", "--presets", "fast", "--precision", "int8"]
    options += ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "report")]
    tiny_pipeline.save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit):
        main(options)
    assert "this checkpoint has no ranges for int8" in capsys.readouterr().err.splitlines()[-1]
    with recording_int8_ranges(tiny_pipeline.unet):
        tiny_pipeline(noise(16000), 16000, 1)
    tiny_pipeline.save_pretrained(tmp_path / "model")
    main(options)
    results = json.loads((tmp_path / "report.json").read_text())
    rounded, exact = (results[name]["summary"]["si_sdr"]["mean"] for name in ("ours, int8", "ours, fast"))
    assert rounded != exact
    assert rounded == pytest.approx(exact, abs=0.5)


@pytest.mark.slow
def test_a_system_whose_package_is_missing_gets_a_row_that_says_so(paired_folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyrnnoise", None)
    report = tmp_path / "report"
    options = ["--pairs", str(paired_folders), "--presets", "--judges", "dnsmos", "--output", str(report)]
    main([*options, "--systems", "rnnoise", "untouched"])
    captured = capsys.readouterr()
    assert "| rnnoise | not available here |" in captured.out
    assert "rnnoise: not available here: the package pyrnnoise is missing" in captured.err
    results = json.loads(report.with_suffix(".json").read_text())
    assert results["rnnoise"]["files"] == []
    assert results["untouched"]["summary"]["dnsmos_ovrl"]["mean"] > 1
    with pytest.raises(SystemExit):
        main([*options, "--systems", "rnnoise"])
    assert "none of the systems is available here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pairs", "nowhere-*.parquet"], "no file matches"),
        (["--pairs", "{pairs}", "--system", "x"], "expected NAME=PATH"),
        (["--pairs", "{pairs}", "--systems", "--presets", "--system", "x=nowhere"], "nowhere: no such folder"),
        (["--pairs", "{pairs}", "--systems", "--presets"], "nothing to evaluate"),
        (["--pairs", "{pairs}", "--systems", "--dnsmos", "nowhere.onnx"], "nowhere.onnx: no such file"),
    ],
)
def test_mistakes_get_one_line(paired_folders, options, message, capsys):
    with pytest.raises(SystemExit) as error:
        main([option.format(pairs=paired_folders) for option in options])
    assert error.value.code == 2
    assert message in capsys.readouterr().err
