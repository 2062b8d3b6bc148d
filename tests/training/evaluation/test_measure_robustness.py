"""What loud events do to the measures of a system whose answer is known."""

import numpy as np
import pytest

from training.evaluation.measure_robustness import EVENTS, Event, main, markdown, measure_all, with_event
from training.evaluation.systems import untouched
from training.mixtures.augment import active_rms
from training.validation import Pair


@pytest.fixture
def pair(sample_pair):
    noisy, clean = (audio[: 3 * 16000] for audio in sample_pair)
    return Pair("sample", noisy, clean, {})


def test_an_event_comes_before_the_recording_and_stays_within_full_scale(pair):
    for event in EVENTS.values():
        track, start, factor = with_event(pair.noisy, pair.clean, event, 0)
        assert np.abs(track).max() < 1
        assert start == round(16000 * event.seconds)
        np.testing.assert_allclose((track[start:] - event.offset) / factor, pair.noisy, atol=1e-4)
    track, start, factor = with_event(pair.noisy, pair.clean, Event(seconds=0.5, level_db=30.0), 0)
    assert 20 * np.log10(track[:start].std() / factor / active_rms(pair.clean)) == pytest.approx(30, abs=0.2)


def test_a_system_that_leaves_all_as_it_is_loses_nothing_but_keeps_the_offset(pair):
    results = measure_all(untouched, [pair])
    for name, (row,) in results.items():
        assert row["level_change_db"] == pytest.approx(0, abs=0.1)
        assert row["si_sdr"] == pytest.approx(results["nothing"][0]["si_sdr"], abs=0.05)
        assert row["offset"] == pytest.approx(EVENTS[name].offset, abs=2e-3)


def test_a_level_of_the_whole_file_is_seen(pair):
    """A gate that takes all that is 35 dB below the loudest for noise, as one level for a file makes it."""

    def gate(pairs):
        return [np.where(np.abs(p.noisy) > 0.018 * np.abs(p.noisy).max(), p.noisy, 0) for p in pairs]

    results = measure_all(gate, [pair])
    (alone,), (quiet,), (loud,) = (results[name] for name in list(EVENTS)[:3])
    assert alone["level_change_db"] == 0 > quiet["level_change_db"] > loud["level_change_db"] < -1
    assert quiet["si_sdr"] > loud["si_sdr"] + 1
    assert "| 2 s of noise 40 dB above the speech |" in markdown(results, "one file")


@pytest.mark.slow
@pytest.mark.parametrize(("options", "way"), [([], ""), (["--live"], ", live")])
def test_report(corpus, tiny_model, tmp_path, options, way):
    pairs, output = str(corpus / "pairs.parquet"), tmp_path / "r"
    main(["--pairs", pairs, "--limit", "1", "--model", str(tiny_model), "--output", str(output), *options])
    text = (tmp_path / "r.md").read_text()
    assert "| offset of .1 |" in text
    assert f" ddim, 1 step{way}\n" in text
