"""What becomes of memory that a step on the CPU has freed."""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_NEVER = 2**31 - 1  # bytes at the end of the heap
_LARGEST = 32 * 2**20  # bytes, the most that glibc takes for the second
_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory() -> bool:
    """A step takes its tensors from what earlier steps have freed, instead of fresh pages.

    glibc hands larger blocks back to the system as soon as they are free, and the next step waits
    for the kernel to clear as many pages again. It is process-wide and stays so; the peak of the
    memory in use is the same.

    Returns:
        Whether it was done: not where the C library is another, or the user has tuned it.
    """
    tuned = any(name in os.environ for name in _OWN)
    if tuned or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER)) and bool(mallopt(_MMAP_THRESHOLD, _LARGEST))
