"""Freed memory is kept for the next step."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from transformer_zoo.training.heap import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for mebibytes in (4, 16, 32, 40, 64):
        blocks = [torch.ones(mebibytes * 2**18) for _ in range(2)]
        del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""Page faults of the last of twenty rounds."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
@pytest.mark.slow
def test_blocks_are_not_taken_from_the_system_again():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True).stdout) for how in ("given", "kept")
    }
    assert faults["kept"] < faults["given"] / 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    from transformer_zoo.training import heap

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not heap.keep_freed_memory()
