"""What the allocator does with the buffers of a transfer when they are freed."""

from typing import Final

_BLOCK_BYTES: Final = 31 << 20


def keep_freed_memory() -> None:
    """Lets the C library keep the memory of freed buffers for the next ones, instead of giving it back each time.

    glibc gives large blocks back to the kernel, which then has to clear every page of the next one: two thirds of the
    processor time of an upload. The largest block that was ever freed, up to 32 MiB, raises that limit; this one is
    never touched, so it costs nothing. Elsewhere it does nothing.
    """
    bytes(_BLOCK_BYTES)
