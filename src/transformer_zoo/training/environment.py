"""What a result depends on besides its configuration: versions, machine, threads, code state. And how much memory it took."""

import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import transformer_zoo

PACKAGES = ("torch", "numpy", "einops", "tokenizers", "datasets", "safetensors", "hydra-core", "omegaconf", "sacrebleu")
PACKAGE = Path(transformer_zoo.__file__).parent


def environment(*, device: torch.device, world_size: int, **facts: Any) -> dict[str, Any]:
    """Plain data for `environment.json`. `facts` are the caller's: seed, fingerprints of data and tokenizer, plugins, kernels that ran …"""
    return {
        "versions": {"transformer-zoo": transformer_zoo.__version__, "python": platform.python_version(), **_versions()},
        "machine": {
            "platform": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        },
        "device": {"type": device.type, "name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()},
        "threads": torch.get_num_threads(),
        "world_size": world_size,
        "code": code_state(PACKAGE) | {"source": source_fingerprint(PACKAGE)},
        "command": sys.argv,
        **facts,
    }


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def code_state(folder: Path) -> dict[str, Any]:
    """The git commit of the checkout that `folder` lies in, and whether files differ from it; empty for an installed package."""

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:  # a package installed inside somebody else's repository
        return {}
    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {}
    return {"commit": commit, "changed": bool(git("status", "--porcelain", "--untracked-files=no"))}


def source_fingerprint(folder: Path) -> str:
    """Sixteen hexadecimal digits that stand for all Python files below a folder: what the code is, committed or not, installed or not."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory used so far: of the device for CUDA, of this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
