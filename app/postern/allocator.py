"""Memory that was freed and that the C library keeps."""

import ctypes

_trim = getattr(ctypes.PyDLL(None), "malloc_trim", None)


def return_free_pages() -> None:
    """Return free pages of the heap to the system (malloc_trim(3)). glibc does so at the end of the heap only: small
    blocks that live longer keep the pages of large ones that were freed before them, and a server that has had many
    large bodies holds a multiple of what is in use. It takes 0.2 ms where nothing is free. Other C libraries have no
    such function."""
    if _trim is not None:
        _trim(0)
