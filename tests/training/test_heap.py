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
torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(2**24)  # 64 MiB, above what glibc ever keeps by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_blocks_are_not_taken_from_the_system_again():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True).stdout) for how in ("given", "kept")
    }
    assert faults["kept"] < faults["given"] / 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    from transformer_zoo.training import heap

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not heap.keep_freed_memory()
