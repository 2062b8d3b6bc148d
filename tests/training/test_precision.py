import warnings

import pytest
import torch

from speech_enhance.models.precision import is_bfloat16_fast
from training.muon import orthogonalize
from training.precision import usable_precision


@pytest.fixture(params=[{}, {"avx512_bf16": True}, {"amx_bf16": True}], ids=["plain", "avx512", "amx"])
def processor(request, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return request.param


def test_bfloat16_only_where_the_processor_has_it(processor):
    assert is_bfloat16_fast("cpu") == bool(processor)
    assert is_bfloat16_fast("cuda")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert usable_precision("bf16") == ("bf16" if processor else "no")
        assert [str(warning.message) for warning in caught] == (
            [] if processor else ["mixed_precision: bf16 is slow on this processor; using 'no'"]
        )
    with pytest.warns(UserWarning, match="fp16 is slow on this processor"):
        assert usable_precision("fp16") == "no"
    assert usable_precision("no") == "no"


def test_muon_does_not_emulate_bfloat16(processor):
    matrix = torch.randn(24, 60, generator=torch.Generator().manual_seed(0))
    update = orthogonalize(matrix)
    assert update.dtype == torch.float32
    is_rounded = torch.equal(update, update.bfloat16().float())
    assert is_rounded == bool(processor)
    assert torch.linalg.svdvals(update).min() > 0.6
