"""What accelerators can do at most, as their makers state it."""

import re

DENSE_BF16: dict[str, float] = {
    r"\bB200\b": 2250e12,
    r"\bGH200\b": 989e12,
    r"\bH200 NVL\b": 835e12,
    r"\bH200\b": 989e12,
    r"\bH100 PCIe\b": 756e12,
    r"\bH100 NVL\b": 835e12,
    r"\bH100\b": 989e12,
    r"\bA100\b": 312e12,
    r"\bA40\b": 149.7e12,
    r"\bA30\b": 165e12,
    r"\bA10\b": 125e12,
    r"\bL40S\b": 362e12,
    r"\bL4\b": 121e12,
    r"\bRTX 4090\b(?! Laptop| D)": 165.2e12,
    r"\bRTX 3090\b(?! Ti)": 71e12,
}
"""Pattern of a device's name → floating-point operations a second in dense bfloat16 products, summed in float32. First match counts. The name
that a driver gives does not tell an H100's memory from its form in all cases: one that says neither PCIe nor NVL counts as SXM."""


def dense_bf16_peak(name: str) -> float | None:
    """The stated peak of a device; None where it has no bfloat16 units or is not in the table."""
    return next((peak for pattern, peak in DENSE_BF16.items() if re.search(pattern, name)), None)
