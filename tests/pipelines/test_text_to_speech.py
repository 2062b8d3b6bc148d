"""The page about text-to-speech runs as it stands, with tiny random models in place of those on the Hub."""

import re

import numpy as np
import pytest
import sentencepiece
import soundfile
import torch
from conftest import ROOT
from mel_stages import make_vocoder
from transformers import (
    SpeechT5Config,
    SpeechT5FeatureExtractor,
    SpeechT5ForTextToSpeech,
    SpeechT5Processor,
    SpeechT5Tokenizer,
)

LETTERS = "the quick brown fox jumps over the lazy dog. The mel is mended before the vocoder speaks."
TINY = {
    "hidden_size": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 16,
    "speech_decoder_prenet_units": 8,
    "speech_decoder_postnet_layers": 1,
    "speech_decoder_postnet_units": 8,
    "num_conv_pos_embeddings": 16,
    "speaker_embedding_dim": 512,
}


@pytest.fixture(scope="module")
def hub_models(tmp_path_factory) -> dict[str, str]:
    """Folders by the names that the page has."""
    folder = tmp_path_factory.mktemp("speecht5")
    (folder / "letters.txt").write_text(f"{LETTERS}\n" * 3)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "letters.txt"),
        model_prefix=str(folder / "spm_char"),
        model_type="char",
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=5,
    )
    tokenizer = SpeechT5Tokenizer(vocab_file=str(folder / "spm_char.model"))
    SpeechT5Processor(SpeechT5FeatureExtractor(), tokenizer).save_pretrained(folder / "tts")
    torch.manual_seed(0)
    SpeechT5ForTextToSpeech(SpeechT5Config(vocab_size=len(tokenizer), **TINY)).save_pretrained(folder / "tts")
    make_vocoder().save_pretrained(folder / "hifigan")
    return {"microsoft/speecht5_tts": str(folder / "tts"), "microsoft/speecht5_hifigan": str(folder / "hifigan")}


def test_the_page_runs_from_text_to_sound(hub_models, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "text_to_speech.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    for name, folder in hub_models.items():
        assert name in code
        code = code.replace(name, folder)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["mended"].shape == names["mel"].shape
    assert torch.isfinite(names["mended"]).all()
    sound, sampling_rate = soundfile.read("speech.wav", dtype="float32")
    assert sampling_rate == 16000
    assert len(sound) == 256 * len(names["mel"])
    assert np.abs(sound).max() > 0
    assert names["speecht5_mel"].shape == (80, 100)
