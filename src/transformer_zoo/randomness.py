"""Randomness as a function: draws depend on (seed, epoch, sample index, purpose) and on nothing else.

Masks, shuffles and crops drawn this way are the same for any number of workers, any batch composition, any world size and after any
restart. The generator is a counter hash: SplitMix64's finaliser (Steele, Lea & Flood 2014, https://doi.org/10.1145/2714064.2660195)
applied once per key word, vectorised over NumPy's wrapping uint64.
"""

import hashlib

import numpy as np

from transformer_zoo.records import Rows

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def purpose_key(purpose: str) -> int:
    """A 64-bit key for a named use of randomness, stable across platforms and Python versions."""
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")


def hash_words(*words: np.ndarray | int) -> np.ndarray:
    """uint64 hashes of the broadcast key words; every word's bits reach every bit of the result."""
    arrays = [np.asarray(word).astype(np.uint64) if not isinstance(word, int) else np.uint64(word % 2**64) for word in words]
    with np.errstate(over="ignore"):
        state = np.zeros((), dtype=np.uint64)
        for word in arrays:  # the state grows with the words: a word that is the same for a whole row costs one hash a row
            state = _mix((state ^ word) + _GOLDEN)
    return state


def uniform(rows: Rows, purpose: str, count: int) -> np.ndarray:
    """[B, count] float64 in [0, 1): `count` draws for every row, from its own seed, epoch and index."""
    epoch, index = rows.epoch.numpy()[:, None], rows.index.numpy()[:, None]
    return _unit(hash_words(rows.seed, purpose_key(purpose), epoch, index, np.arange(count)[None, :]))


def uniform_at(rows: Rows, purpose: str, row: np.ndarray, place: np.ndarray) -> np.ndarray:
    """[N] float64 in [0, 1): `uniform(rows, purpose, …)[row, place]` without the other draws."""
    return _unit(hash_words(rows.seed, purpose_key(purpose), rows.epoch.numpy()[row], rows.index.numpy()[row], place))


def _unit(bits: np.ndarray) -> np.ndarray:
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def whole(draws: np.ndarray, bound: int | np.ndarray) -> np.ndarray:
    """Draws in [0, 1) as int64 in [0, bound); `bound` is one for all, or one for each."""
    return np.minimum((draws * bound).astype(np.int64), bound - 1)


def permutation(seed: int, purpose: str, epoch: int, size: int) -> np.ndarray:
    """[size] int64: a shuffle of range(size) fixed by (seed, purpose, epoch)."""
    return np.argsort(hash_words(seed, purpose_key(purpose), epoch, np.arange(size)), kind="stable")


def generator(seed: int, purpose: str, *words: int) -> np.random.Generator:
    """A NumPy generator (Philox, same stream on every platform) keyed by seed, purpose and further words; for building data sets."""
    return np.random.Generator(np.random.Philox(key=int(hash_words(seed, purpose_key(purpose), *words))))
