from training.validation import load_pairs, score_pairs


def test_pairs_are_loaded_and_scored(corpus, tiny_pipeline):
    (pair,) = load_pairs(str(corpus / "pairs.parquet"))
    assert pair.noisy.shape == pair.clean.shape == (16000,)
    assert set(score_pairs(tiny_pipeline, [pair], 1)) == {"pesq", "estoi", "si_sdr"}
