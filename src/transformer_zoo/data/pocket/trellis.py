"""Sums over all state paths of a process: the forward and backward algorithm for a batch of symbol rows.

Only the states that the symbols so far allow are kept (a handful where the words are visible), as flat lists of (row, state, weight).
Arithmetic is float64 with weights scaled to sum to 1 per row and step; logarithms of the scales add up to the likelihood.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from transformer_zoo.data.pocket.process import Choices, Process

HIDDEN = -1
"""A word that is there but not shown."""
PADDING = -2
"""After the end of a row."""

MOVE, NEXT_SENTENCE, SKIP_TO_STOP = 0, 1, 2
"""Kernels, by which a row comes to a symbol. `MOVE`: one step of the process. `NEXT_SENTENCE`: from a sentence's last state to the
next sentence's first, given that there is one. `SKIP_TO_STOP`: given that the document goes on, at least one word is left out, and
all others up to the end of its sentence; lands in the state that ends it."""


@dataclass(kw_only=True)
class _Step:
    rows: np.ndarray  # [n] of each active entry
    states: np.ndarray  # [n]
    alpha: np.ndarray  # [n] sums to 1 over the entries of a row
    source: np.ndarray  # [e] entry of the step before, per edge
    target: np.ndarray  # [e] entry of this step
    weight: np.ndarray  # [e] transition times emission over the row's scale


@dataclass(kw_only=True)
class Lattice:
    """What the forward pass leaves: per step the surviving states of every row and the edges between them."""

    scales: np.ndarray
    """[B, L] probability of each symbol given those before it; 1 on padding, 0 from where a row becomes impossible."""
    lengths: np.ndarray
    """[B] symbols per row."""
    steps: list[_Step] = field(default_factory=list)

    def log_likelihood(self, given: np.ndarray | None = None) -> np.ndarray:
        """[B] of each row, minus infinity for an impossible one; symbols in `given` [B, L] bool are conditions and do not count."""
        counted = self.scales if given is None else np.where(given & (self.scales > 0), 1.0, self.scales)
        logs = np.log(counted, where=counted > 0, out=np.full(counted.shape, -np.inf))
        return logs.sum(axis=1)


class Trellis:
    """Forward and backward sums over one process. S counts its states."""

    def __init__(self, process: Process) -> None:
        self.process = process
        moves, last = process.moves, process.n_states - 1
        onward = moves.columns != last
        across = onward & process.stops[moves.rows]
        n = process.n_states
        # Three kernels one below the other, so that (kernel, state) is one row number.
        rows = [moves.rows, n + moves.rows[across], 2 * n + moves.rows[onward]]
        columns = [moves.columns, moves.columns[across], process.stop_of[moves.columns[onward]]]
        weights = [moves.weights, moves.weights[across], moves.weights[onward]]
        self._kernels = Choices(np.concatenate(rows), np.concatenate(columns), np.concatenate(weights), 3 * n)

    def forward(self, laws: Sequence[np.ndarray], law_of_row: np.ndarray, symbols: np.ndarray, kernels: np.ndarray | None = None) -> Lattice:
        """`laws`: each [S], of a row's first state; `symbols` [B, L] with HIDDEN and trailing PADDING; `kernels` [B, L] by which each
        symbol is come to (all MOVE if None; the first is unused)."""
        process, batch = self.process, len(symbols)
        lengths = (symbols != PADDING).sum(axis=1)
        lattice = Lattice(scales=np.ones(symbols.shape), lengths=lengths)
        supports = [np.flatnonzero(law) for law in laws]
        start = Choices(
            np.concatenate([np.full(len(support), number) for number, support in enumerate(supports)]),
            np.concatenate(supports),
            np.concatenate([law[support] for law, support in zip(laws, supports, strict=True)]),
            len(laws),
        )
        rows: np.ndarray = np.arange(batch)
        alpha: np.ndarray = np.ones(batch)
        places, table = law_of_row, start
        for step in range(symbols.shape[1]):
            alive = np.flatnonzero(lengths[rows] > step)
            counts = table.starts[places[alive] + 1] - table.starts[places[alive]]
            source = np.repeat(alive, counts)
            edge = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(table.starts[places[alive]], counts)
            states, weight = table.columns[edge], table.weights[edge]
            weight = weight * process.emission[states, symbols[rows[source], step]]
            used = weight > 0
            source, states, weight = source[used], states[used], weight[used]
            keys, target = np.unique(rows[source] * process.n_states + states, return_inverse=True)
            sums = np.bincount(target, weights=alpha[source] * weight, minlength=len(keys))
            new_rows, states = keys // process.n_states, keys % process.n_states
            scale = np.bincount(new_rows, weights=sums, minlength=batch)
            lattice.scales[:, step] = np.where(lengths > step, scale, 1.0)
            weight = weight / scale[rows[source]]
            rows, alpha = new_rows, sums / scale[new_rows]
            lattice.steps.append(_Step(rows=rows, states=states, alpha=alpha, source=source, target=target, weight=weight))
            places, table = states, self._kernels
            if kernels is not None and step + 1 < symbols.shape[1]:
                places = kernels[rows, step + 1] * process.n_states + states
        return lattice

    def backward(self, lattice: Lattice, final: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """`final` [B, S] or [S]: probability of what is known to follow a row, by the row's last state. Returns its probability given
        the row [B], and per step the posterior weight of every active entry, summing to 1 over a row (0 for impossible rows)."""
        final = np.broadcast_to(final, (len(lattice.lengths), self.process.n_states))
        closing = np.zeros(len(lattice.lengths))
        gammas: list[np.ndarray] = []
        beta: np.ndarray = np.zeros(0)
        following: _Step | None = None
        for number in reversed(range(len(lattice.steps))):
            step = lattice.steps[number]
            if following is None:
                beta = np.zeros(len(step.rows))
            else:
                beta = np.bincount(following.source, weights=following.weight * beta[following.target], minlength=len(step.rows))
            ends = lattice.lengths[step.rows] == number + 1
            known = final[step.rows, step.states]
            total = np.bincount(step.rows[ends], weights=(step.alpha * known)[ends], minlength=len(closing))
            closing += total
            beta = np.where(ends, np.divide(known, total[step.rows], out=np.zeros_like(known), where=total[step.rows] > 0), beta)
            gammas.append(step.alpha * beta)
            following = step
        return closing, gammas[::-1]

    def word_posteriors(self, lattice: Lattice, gammas: list[np.ndarray], truth: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """[B, L] posterior probability that the symbol is the one in `truth` [B, L], where `wanted` [B, L] bool; 0 elsewhere."""
        result = np.zeros(truth.shape)
        for number, (step, gamma) in enumerate(zip(lattice.steps, gammas, strict=True)):
            entries = np.flatnonzero(wanted[step.rows, number])
            rows, states = step.rows[entries], step.states[entries]
            emitted = self.process.emission[states, truth[rows, number]]
            result[:, number] = np.bincount(rows, weights=gamma[entries] * emitted, minlength=len(truth))
        return result
