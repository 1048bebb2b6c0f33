"""Number formats of training: which processors compute bfloat16 faster than float32."""

from __future__ import annotations

import pytest

from likeness.training.precision import _has_fast_bf16

INTEL, AMD = "vendor_id : GenuineIntel\nflags : ", "vendor_id : AuthenticAMD\nflags : "


@pytest.mark.parametrize(
    ("cpuinfo", "fast"),
    [
        (INTEL + "avx2 avx512f avx512_bf16", False),  # a virtual machine that hides AMX
        (INTEL + "avx512f avx512_bf16 amx_tile amx_bf16", True),
        (AMD + "avx512f avx512_bf16", True),
        (AMD + "avx2", False),
        ("", False),
    ],
)
def test_bf16_is_for_processors_that_compute_it_faster(cpuinfo: str, fast: bool) -> None:
    assert _has_fast_bf16(cpuinfo) is fast
