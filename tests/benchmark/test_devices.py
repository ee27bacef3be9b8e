import pytest

from transformer_zoo.benchmark.devices import dense_bf16_peak


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 3090", 71),
    ],
)
def test_known_devices(name: str, tera: float) -> None:
    assert dense_bf16_peak(name) == tera * 1e12


@pytest.mark.parametrize("name", ["Tesla T4", "NVIDIA A10G", "NVIDIA GeForce RTX 3090 Ti", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA X1000", ""])
def test_others_are_unknown_rather_than_guessed(name: str) -> None:
    assert dense_bf16_peak(name) is None
