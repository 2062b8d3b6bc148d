import pytest

from training.compare_views import main, with_views


def test_other_views_change_nothing_else(tiny_pipeline):
    changed = with_views(tiny_pipeline, 3, 1.1)
    assert (changed.config.num_views, changed.config.frequency_warp, len(changed.views)) == (3, 1.1, 3)
    assert next(changed.unet.parameters()) is next(tiny_pipeline.unet.parameters())
    assert changed.config.window_frames == tiny_pipeline.config.window_frames


@pytest.mark.slow
def test_report(corpus, tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path / "model")
    where = [
        "--pairs",
        str(corpus / "pairs.parquet"),
        "--model",
        str(tmp_path / "model"),
        "--output",
        str(tmp_path / "r"),
    ]
    main([*where, "--estimates", "1", "2", "--views", "1", "2", "--warps", "1.1", "1.2"])
    rows = [line.split(" | ")[:3] for line in (tmp_path / "r.md").read_text().splitlines() if line.startswith("| ")]
    assert rows[1:] == [["| 1", "1", "–"], ["| 2", "1", "–"], ["| 2", "2", "1.1"], ["| 2", "2", "1.2"]]
