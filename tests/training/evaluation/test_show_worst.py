import json

import pytest

from training.evaluation.show_worst import main, worst_files


def report(**enhanced: float) -> dict:
    def system(scores):
        return {
            "files": [
                dict.fromkeys(("pesq", "estoi", "si_sdr"), value) | {"id": name} for name, value in scores.items()
            ]
        }

    return {"untouched": system(dict.fromkeys(enhanced, 1.0)), "ours, balanced": system(enhanced)}


def test_the_smallest_gains_come_first_and_undefined_scores_not_at_all():
    rows = worst_files(report(a=1.5, b=0.5, c=2.0, d="nan"), "ours, balanced", "pesq", 2)
    assert [row["id"] for row in rows] == ["b", "a"]
    assert rows[0] == {"id": "b", "noisy": 1.0, "enhanced": 0.5}


@pytest.mark.slow
def test_pictures_and_table(corpus, tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path / "model")
    (tmp_path / "report.json").write_text(json.dumps(report(p=1.2)))
    arguments = [
        "--report",
        tmp_path / "report.json",
        "--pairs",
        corpus / "pairs.parquet",
        "--model",
        tmp_path / "model",
    ]
    main([str(item) for item in [*arguments, "--output", tmp_path / "worst"]])
    names = {path.name for path in (tmp_path / "worst").iterdir()}
    assert {"pesq-01-p.png", "estoi-01-p.png", "si_sdr-01-p.png", "worst.md"} <= names
    assert "| pesq | p | 1.00 | 1.20 |" in (tmp_path / "worst" / "worst.md").read_text()


def test_an_unknown_system_is_named(tmp_path, capsys):
    (tmp_path / "report.json").write_text(json.dumps(report(p=1.2)))
    with pytest.raises(SystemExit):
        main(["--report", str(tmp_path / "report.json"), "--system", "theirs", "--output", str(tmp_path)])
    assert "no system 'theirs'; there are untouched, ours, balanced" in capsys.readouterr().err
