"""Kernels in the vectors of processors without AVX-512, on one that has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from downslope.kernels.vectors import WIDE

NARROW = """
import os, sys
import llvmlite.binding
import pytest

class Features(dict):
    def flatten(self):
        return "+avx,+avx2,+fma"

llvmlite.binding.get_host_cpu_features = Features
os.environ.update(NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=Features().flatten())
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


@pytest.mark.skipif(not WIDE, reason="all other tests are run without AVX-512 here")
def test_kernels_in_vectors_of_32_bytes(tmp_path: Path) -> None:
    tests = Path(__file__).parent
    cases = (
        "test_lanes.py", "test_losses.py::test_rows_are_summed_in_float64",
        "test_products.py::test_few_units", "test_products.py::test_every_tail",
        "test_rules.py::test_adams_step_is_exact_to_some_units_in_the_last_place",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", NARROW, *(str(tests / case) for case in cases)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        cwd=tests.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
