"""The exam: every system and judge once, on sets of two utterances at two ratios, with a model of tiny size."""

import json
import math
import sys
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml
from conftest import noise, quiet
from datasets import Dataset

from speech_enhance import PRESETS, SpeechEnhancementPipeline, make_scheduler
from speech_enhance.metrics.reference import si_sdr
from training.config import read_config
from training.corpora.shards import flac
from training.evaluation.bootstrap import Mean, bootstrap_mean, bootstrap_ratio
from training.evaluation.score_tables import average, best_system, difference, overview, plain, sure, with_interval
from training.evaluation.systems import MAKERS
from training.exam import speed as exam_speed
from training.exam.command import main
from training.exam.plan import PLAN, ExamPlan, mix_of
from training.exam.tables import lost_words, words_by_ratio
from training.mixtures.loading import decode

RATE = 16000
SYSTEMS_RUN = ["untouched", "rnnoise", "ours, fast"]


@dataclass
class JudgeOptions:
    asr_model: str | None = None
    num_threads: int = 1


class Words:
    """A recogniser that hears fewer words the further an output is from the reference, and counts what it is asked."""

    asked = 0

    def __init__(self, options):
        self.options = options

    def __call__(self, outputs, pairs):
        Words.asked += len(pairs)
        errors = [
            min(10, round(20 * np.abs(output - pair.clean).mean())) for output, pair in zip(outputs, pairs, strict=True)
        ]
        return [{"word_errors": number, "words": 10, "wer_reference": "transcript"} for number in errors]


def not_installed(options):
    raise ImportError("No module named 'visqol'")


@pytest.fixture(autouse=True)
def judges(monkeypatch):
    stand_in = SimpleNamespace(JUDGES={"wer": Words, "visqol": not_installed}, JudgeOptions=JudgeOptions)
    monkeypatch.setitem(sys.modules, "training.evaluation.judges", stand_in)
    monkeypatch.setattr(Words, "asked", 0)


@pytest.fixture
def plan(tiny_pipeline, tmp_path):
    """A plan's file with the set `words`."""
    rhythm = np.abs(np.sin(np.arange(RATE) * 2 * np.pi / 4000)).astype(np.float32)
    rows = []
    for index in range(2):
        clean = 0.3 * noise(RATE, seed=index) * rhythm
        for ratio in (-2.5, 17.5):
            noisy = clean + np.float32(0.3 * 10 ** (-ratio / 20)) * noise(RATE, seed=9)
            rows.append(
                {
                    "id": f"{index}_{ratio:g}dB",
                    "clean": flac(clean, RATE, "c"),
                    "noisy": flac(noisy.clip(-1, 1), RATE, "n"),
                    "utterance": f"u{index}",
                    "snr_db": ratio,
                }
            )
    Dataset.from_list(rows).to_parquet(tmp_path / "words.parquet")
    tiny_pipeline.save_pretrained(tmp_path / "model")
    content = {
        "sets": {"words": {"pairs": str(tmp_path / "words.parquet"), "description": "Two utterances"}},
        "systems": SYSTEMS_RUN,
        "judges": ["signal", "wer", "visqol"],
        "models": {"ours": str(tmp_path / "model")},
        "main_system": "ours, fast",
        "short_systems": ["untouched", "ours, fast"],
        "short_set": "words",
        "words_set": "words",
        "limits_db": [6],
        "mixes": [0.8],
        "output_dir": str(tmp_path / "outputs"),
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.slow
def test_the_exam_makes_every_table_and_goes_on_where_it_was_stopped(plan, tmp_path, capsys, monkeypatch):
    options = ["--plan", str(plan), "--output", str(tmp_path / "exam")]
    main(options)
    text = (tmp_path / "exam.md").read_text()
    assert text.index("| system | PESQ | ESTOI | DNSMOS OVRL | WER | real-time factor |") < text.index(
        "## words: 4 files"
    )
    assert "Not available here: visqol (No module named 'visqol')." in text
    assert "ViSQOL" not in text.split("## words")[1]
    assert "WER of 40 words, against the transcript." in text
    for line in (
        "| limit 6 dB |",
        "| mix 0.8 |",
        "### words: WER less that of the untouched recording",
        "-2.5 dB (20 words)",
    ):
        assert line in text
    of_set = json.loads((tmp_path / "exam.json").read_text())["words"]
    assert of_set["files"] == 4
    assert list(of_set["systems"]) == [*SYSTEMS_RUN, "ours, fast, limit 6 dB", "ours, fast, mix 0.8"]
    assert set(of_set["systems"]["rnnoise"]["wer_by_ratio"]) == {"-2.5", "17.5"}
    assert of_set["systems"]["untouched"]["less_untouched"]["pesq"]["mean"] == 0
    assert Words.asked == 5 * 4

    # A mix is what the pipeline makes with `mix`; and outputs that are there are not made again.
    folder = next((tmp_path / "outputs" / "words").glob("ours-fast-[0-9a-f]*"))
    assert {path.stem for path in folder.iterdir()} == {"0_-2.5dB", "0_17.5dB", "1_-2.5dB", "1_17.5dB"}
    pipeline = quiet(SpeechEnhancementPipeline.from_pretrained(tmp_path / "model"))
    row = next(iter(Dataset.from_parquet(str(tmp_path / "words.parquet"))))
    noisy, clean = (decode(row[name], RATE) for name in ("noisy", "clean"))
    settings = asdict(PRESETS["fast"])
    pipeline.scheduler = make_scheduler(settings.pop("scheduler"), pipeline.scheduler.config)
    mixed = pipeline(noisy, RATE, mix=0.8, **settings).audios
    lines = (tmp_path / "exam.runs.jsonl").read_text().splitlines()
    of_mix = [json.loads(line) for line in lines if '"ours, fast, mix 0.8", "judge": "signal"' in line]
    assert of_mix[0]["files"][0]["si_sdr"] == pytest.approx(si_sdr(mixed, clean), abs=1e-3)
    (tmp_path / "exam.runs.jsonl").write_text("\n".join(lines[:-2]) + "\n")
    monkeypatch.setattr(ExamPlan, "make_system", lambda *_: pytest.fail("an output was made again"))
    main(options)
    assert Words.asked == 7 * 4
    assert sorted((tmp_path / "exam.runs.jsonl").read_text().splitlines()) == sorted(lines)
    before = (tmp_path / "exam.md").read_text()
    main([*options, "--report-only"])
    assert Words.asked == 7 * 4
    assert (tmp_path / "exam.md").read_text().split("## words")[1].split("Made by")[0] == before.split("## words")[
        1
    ].split("Made by")[0]


@pytest.mark.slow
def test_a_stored_system_of_others_and_a_missing_package(plan, tmp_path, monkeypatch, capsys):
    def missing(pairs):
        raise ImportError("No module named 'nowhere'")

    monkeypatch.setitem(MAKERS, "rnnoise", lambda num_threads: missing)
    (tmp_path / "mine" / "words").mkdir(parents=True)
    for row in Dataset.from_parquet(str(tmp_path / "words.parquet")):
        (tmp_path / "mine" / "words" / f"{row['id']}.flac").write_bytes(row["noisy"]["bytes"])
    options = ["--plan", str(plan), "--output", str(tmp_path / "exam"), "--judges", "signal"]
    main([*options, "--systems", "untouched", "rnnoise", "--system", f"mine={tmp_path / 'mine'}"])
    text = (tmp_path / "exam.md").read_text()
    assert "| rnnoise | not available here |" in text
    assert "rnnoise (No module named 'nowhere')" in text
    systems = json.loads((tmp_path / "exam.json").read_text())["words"]["systems"]
    assert systems["mine"] == systems["untouched"]
    # The same name with other sound is another system.
    loud, _ = soundfile.read(tmp_path / "mine" / "words" / "0_-2.5dB.flac", dtype="float32")
    soundfile.write(tmp_path / "mine" / "words" / "0_-2.5dB.flac", loud[::-1], RATE)
    main([*options, "--systems", "untouched", "--system", f"mine={tmp_path / 'mine'}"])
    again = json.loads((tmp_path / "exam.json").read_text())["words"]["systems"]
    assert again["mine"] != systems["mine"]
    assert again["untouched"] == systems["untouched"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sets", "else"], "the plan has no else; it has words"),
        (["--systems", "rnnoize"], "unknown system 'rnnoize'"),
        (["--systems", "ours, slow"], "unknown system 'ours, slow': a model is one of ours, a preset of fast"),
        (["--judges", "taste", "--systems", "untouched"], "unknown judge 'taste'"),
        (["--limit", "0"], "--limit must be at least 1"),
        (["--system", "mine=nowhere", "--systems"], "nowhere: no such folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(plan, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        main(["--plan", str(plan), "--output", str(tmp_path / "exam"), *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_live_system_is_the_model_in_blocks_without_its_delay(plan):
    found = read_config(ExamPlan, plan)
    pairs = found.load_set("words", 1)
    live = SpeechEnhancementPipeline.from_pretrained(found.models["ours"]).live(RATE)
    whole = np.concatenate([live.process(pairs[0].noisy), live.flush()])[live.latency :]
    (output,) = found.make_system("ours, live")(pairs)
    np.testing.assert_allclose(output, whole, atol=1e-5)


@pytest.mark.slow
def test_speed_is_measured_in_turn_for_each_number_of_threads(plan, tmp_path, monkeypatch):
    live_latency = SpeechEnhancementPipeline.from_pretrained(plan.parent / "model").live(RATE).latency
    monkeypatch.setattr(exam_speed, "SECONDS", 1)
    figures = exam_speed.measure_systems(read_config(ExamPlan, plan), ["untouched", "ours, fast", "ours, live"], 1, 2)
    assert figures["ours, fast"]["real_time_factor"] > figures["untouched"]["real_time_factor"] >= 0
    assert (figures["ours, fast"]["latency_ms"], figures["untouched"]["latency_ms"]) == (None, 0)
    assert figures["ours, live"]["latency_ms"] == pytest.approx(1000 * (live_latency + 256) / RATE, abs=0.1)
    assert figures["ours, fast"]["slowest"] >= figures["ours, fast"]["real_time_factor"]
    row = {
        "real_time_factor": {"1": 0.5, "2": 0.25},
        "slowest": {"1": 0.6, "2": 0.3},
        "load_seconds": 1.0,
        "latency_ms": 10.0,
    }
    results = {"machine": "m", "seconds": 1, "repeats": 2, "systems": {"ours, fast": row, "dtln": {"missing": "no"}}}
    text = exam_speed.speed_markdown(results)
    assert "| ours, fast | 0.5000 | 0.6000 | 0.2500 | 0.3000 | 1.0 | 10 |" in text
    assert "| dtln | not available here |" in text
    (tmp_path / "exam-speed.json").write_text(json.dumps(results))
    main(
        [
            "--plan",
            str(plan),
            "--output",
            str(tmp_path / "exam"),
            "--systems",
            "ours, fast",
            "--judges",
            "signal",
            "--no-variants",
        ]
    )
    assert "| – | 0.500 |" in (tmp_path / "exam.md").read_text()


def test_the_plan_of_the_repository_can_be_read():
    plan = read_config(ExamPlan, PLAN)
    assert plan.model_of("ours, balanced, limit 6 dB")[1]["attenuation_limit_db"] == 6
    assert mix_of("ours, balanced, mix 0.8") == ("ours, balanced", 0.8)
    assert "large, best" not in plan.systems_of("pairs-words")
    for system in {*plan.systems, *plan.short_systems, plan.main_system}:
        assert plan.model_of(system) or system.replace("_", "").isalnum()
    assert {plan.short_set, plan.words_set} <= set(plan.sets)


def words(*errors, among=10):
    return [
        {
            "id": str(index),
            "utterance": f"u{index // 2}",
            "snr_db": index % 2 * 5.0,
            "word_errors": number,
            "words": among,
        }
        for index, number in enumerate(errors)
    ]


def test_words_are_pooled_and_drawn_by_utterance():
    rows = words(0, 0, 5, 5)
    rows[0]["words"] = 30
    assert average(rows, "wer").mean == pytest.approx(10 / 60)
    assert average(rows, "wer").high == pytest.approx(10 / 20)  # both draws are the second utterance
    assert difference(words(0, 0, 0, 0), words(5, 5, 5, 5), "wer").high == pytest.approx(-0.5)
    assert bootstrap_ratio([1, 2, 3], [1, 1, 1]) == bootstrap_mean([1, 2, 3])
    assert bootstrap_ratio([1, float("nan")], [2, 1]).mean == 0.5
    assert np.isnan(bootstrap_ratio([], []).mean)
    alone = difference(words(0, 0), words(5, 5), "wer")
    assert (alone.mean, sure(alone)) == (-0.5, False)  # one utterance, so no interval


def test_bold_is_only_what_is_sure():
    results = {"a": words(9, 9, 9, 9), "b": words(1, 1, 1, 1), "c": words(5, 5, 5, 5), "missing": []}
    assert best_system(results, "wer") == "b"
    assert "| b | **0.100** |" in overview(results, ["wer"], plain, mark_best=True)
    assert "| missing | not available here |" in overview(results, ["wer"], plain)
    assert best_system(results | {"d": words(0, 2, 2, 0)}, "wer") is None


def test_a_ratio_at_which_words_are_lost_is_named_with_its_files():
    heard = [row | {"text": "a b", "reference_text": "a b c"} for row in words(0, 1, 0, 1)]
    lost = [row | {"text": "", "reference_text": "a b c"} for row in words(4, 1, 6, 1)]
    text = "\n".join(words_by_ratio("set", {"untouched": heard, "x": lost}))
    assert "| x | **+0.500 [+0.400, +0.600] worse** | +0.000 [+0.000, +0.000] |" in text
    lines = lost_words("set", {"untouched": heard, "x": lost})
    assert "- `u1` at 0 dB: 0 wrong words of 10 untouched, 6 after (+6)" in lines
    assert lines.index("- `u1` at 0 dB: 0 wrong words of 10 untouched, 6 after (+6)") < lines.index(
        "- `u0` at 0 dB: 0 wrong words of 10 untouched, 4 after (+4)"
    )
    assert "  - after: (nothing)" in lines


def test_a_difference_of_nothing_is_a_dash():
    assert with_interval(Mean(math.nan, math.nan, math.nan, 0), "+.2f") == "–"
    assert with_interval(Mean(0.1, 0.05, 0.2, 4), "+.2f") == "+0.10 [+0.05, +0.20]"
