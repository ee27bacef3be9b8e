"""What a measurement says: ratios with their spread, never absolute figures alone."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One row of a table: ours against one peer."""

    row: str
    """Names the row within its suite; with `peer` it is unique there."""
    what: str
    """What was measured, in words, with the unit."""
    ours: str
    """What ran on our side."""
    peer: str
    """What ran on the other side."""
    ratio: float
    """Median over the rounds of peer / ours for a cost such as seconds or bytes (ours / peer for a yield): above 1, ours is better."""
    low: float
    """Lower quartile of the rounds' ratios."""
    high: float
    """Upper quartile of the rounds' ratios."""
    target: float | None = None
    """What the ratio must reach; None: there is no such promise."""
    numbers: dict[str, float] = field(default_factory=dict)
    """Further figures, each named with its unit (`ours_seconds`, `peer_bytes`, `rounds` …)."""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        return None if self.target is None else self.ratio >= self.target


def compare(
    times: Mapping[str, Sequence[float]], *, row: str, what: str, target: float | Mapping[str, float] | None, ours: str = "ours"
) -> list[Comparison]:
    """One comparison per peer, from the seconds of every side in every round; `target` may differ by peer."""
    found = []
    for peer in times:
        if peer == ours:
            continue
        ratios = [theirs / own for theirs, own in zip(times[peer], times[ours], strict=True)]
        low, ratio, high = quartiles(ratios)
        found.append(
            Comparison(
                row=row,
                what=what,
                ours=ours,
                peer=peer,
                ratio=ratio,
                low=low,
                high=high,
                target=target.get(peer) if isinstance(target, Mapping) else target,
                numbers={
                    "ours_seconds": statistics.median(times[ours]),
                    "peer_seconds": statistics.median(times[peer]),
                    "rounds": len(ratios),
                },
            )
        )
    return found


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile; of a single value, that value three times."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
