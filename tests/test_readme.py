"""The README's Python runs as it stands there."""

import re

import numpy as np
import pytest
from conftest import ROOT


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_the_examples_of_the_pipeline_and_its_schedulers(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {}
    loading = next(block for block in blocks() if "from_pretrained(DEFAULT_CHECKPOINT)" in block)
    exec(loading, names)
    assert names["enhanced"].shape == names["audio"].T.shape
    before = names["enhanced"]
    swaps = [block for block in blocks() if "pipe.scheduler =" in block]
    assert swaps
    for block in swaps:
        exec(block, names)
        assert np.isfinite(names["enhanced"]).all()
        assert not np.array_equal(names["enhanced"], before)


@pytest.mark.parametrize("name", ["DDPMScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler", "LCMScheduler"])
def test_other_schedulers_go_in_the_same_way_after_loading(name, tmp_path):
    import diffusers
    from conftest import noise, quiet
    from hub_client import tiny_model

    from speech_enhance import SpeechEnhancementPipeline

    pipe = quiet(SpeechEnhancementPipeline.from_pretrained(tiny_model(tmp_path / "model")))
    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config)
    assert np.isfinite(pipe(noise(9000), 16000, num_inference_steps=2).audios).all()
