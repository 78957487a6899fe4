"""A network of a test's own, with nothing in it but loopback: what listens on a fixed port there meets nobody else's."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

# netdevice(7)
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1


@contextmanager
def own_network() -> Iterator[None]:
    """For this thread, and for the threads and processes that it starts. Needs root."""
    import fcntl  # not on Windows, where nobody comes this far

    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        os.unshare(os.CLONE_NEWNET)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
            yield
        finally:
            os.setns(before, os.CLONE_NEWNET)
    finally:
        os.close(before)
