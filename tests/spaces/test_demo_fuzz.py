"""The first of the random calls of `fuzz_api`, as many as ten seconds allow."""

import pytest
from demo import serve
from fuzz_api import LIMITS, Fuzzer

pytestmark = pytest.mark.slow


def test_random_calls(tmp_path, tiny_model):
    with serve(tmp_path, MODEL_ID=str(tiny_model), OMP_NUM_THREADS="1", **LIMITS) as server:
        assert Fuzzer(server).run(0, 2000, max_seconds=10) >= 100
