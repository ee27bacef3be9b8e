"""Floor 1: bricks with one contract per slot. Imports torch, einops and the ground only.

Axis letters: B batch, T target positions, S source positions, D width, H heads, E head width, F feed-forward width, V vocabulary, N chosen
positions.
"""
