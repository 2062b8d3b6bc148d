import pytest
import yaml
from conftest import ROOT

from training.evaluation.benchmark_tracks import main


@pytest.fixture
def config(corpus, tmp_path):
    tiny = yaml.safe_load((ROOT / "training" / "configs" / "tiny.yaml").read_text())
    tiny |= {"speech": [{"path": str(corpus / "speech")}], "noise": [{"path": str(corpus / "noise-*.parquet")}]}
    path = tmp_path / "config.yaml"

    def write(**changes):
        path.write_text(yaml.safe_dump(tiny | changes))
        return str(path)

    return write


def test_the_cost_of_a_window_is_that_of_its_share_of_the_tracks(config, capsys):
    main(["--config", config(tracks={"number": 4, "uses": 10}), "--number", "3", "--device", "cpu"])
    pair, window, pairing = capsys.readouterr().out.splitlines()
    milliseconds, microseconds = (float(line.split(": ")[1].split()[0]) for line in (pair, window))
    assert microseconds == pytest.approx(100 * milliseconds, rel=0.1, abs=10)
    assert pairing.startswith("pairing a window on cpu: ")


def test_a_config_without_tracks_is_a_usage_error(config, capsys):
    with pytest.raises(SystemExit):
        main(["--config", config()])
    assert "has no tracks" in capsys.readouterr().err
