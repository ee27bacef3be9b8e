"""Attention modules and kernels."""
