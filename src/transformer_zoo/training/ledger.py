"""The ledger of a run: named sums that examples bring, added up over micro-batches and processes, and what is told of them."""

from collections.abc import Mapping, Sequence

from transformer_zoo.data.stream import StepExamples

Told = Mapping[str, tuple[str, str | None]]
"""Name → the sum that is told and the sum it is a share of; None: the total so far."""


class Ledger:
    """Adds up the examples of this process until `take` hands the sums over. Knows no name: the objective says which sums there are and what is
    told of them."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.names = sorted({name for pair in told.values() for name in pair if name is not None})
        """The sums, in an order that all processes share."""
        self._sums = dict.fromkeys(self.names, 0.0)

    def add(self, item: StepExamples) -> None:
        """The examples of a step; those of a filler are not counted."""
        if item.filler or not self.names:
            return
        for example in item.examples:
            for name, value in example.ledger.items():
                self._sums[name] += value

    def take(self) -> list[float]:
        """The sums by `names`; they begin again at zero."""
        sums = [self._sums[name] for name in self.names]
        self._sums = dict.fromkeys(self.names, 0.0)
        return sums

    def put(self, values: Sequence[float], *books: dict[str, float]) -> None:
        """Add values by `names` to books."""
        for name, value in zip(self.names, values, strict=True):
            for book in books:
                book[name] = book.get(name, 0.0) + value

    def values(self, interval: Mapping[str, float], total: Mapping[str, float]) -> dict[str, float]:
        """What is told: shares of an interval, and totals so far. A share of nothing is left out."""
        values = {}
        for name, (part, whole) in self.told.items():
            if whole is None:
                values[name] = total.get(part, 0.0)
            elif interval.get(whole):
                values[name] = interval[part] / interval[whole]
        return values
