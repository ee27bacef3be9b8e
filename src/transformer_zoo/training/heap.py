"""Keeping freed memory for the next step."""

import ctypes
import logging
import platform

logger = logging.getLogger(__name__)

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST = 2**30
"""Bytes up to which a block is kept. The settings are C ints."""


def keep_freed_memory() -> bool:
    """Ask glibc to keep what tensors on the CPU give back, instead of returning it to the system at once. Every step needs the same blocks again,
    and getting them anew, zeroed page by page, costs 5 to 9% of a step. The peak stays the same. Returns whether that was possible (glibc only).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _LARGEST))
    if not done:
        logger.debug("the C library keeps its own settings for freed memory")
    return done
