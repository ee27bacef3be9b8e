"""Choosing what to hide: in which units, how much, how it is shown, and a count of what came of it.

Everything is a pure function of (seed, epoch, sample index) and, where the ratio follows a schedule, of the share of the budget that is spent.
"""
