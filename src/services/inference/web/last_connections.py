"""Before a listening socket is closed: whoever has connected is accepted, and nobody connects any more.

A socket that is just closed resets the connections that wait to be accepted, with the requests sent on them.
"""

import asyncio
import contextlib
import ctypes
import select
import socket
import struct

# Linux' number for a filter of what a socket receives.
SO_ATTACH_FILTER = 26
# In the kernel's filter language: drop what opens a connection (SYN without ACK in the flags of the TCP header), let
# the rest of a handshake pass. Clients then try again, and are refused once the socket is closed.
NO_NEWCOMERS = (
    (0x30, 0, 0, 13),  # the byte of the flags
    (0x54, 0, 0, 0x12),  # of it, ACK and SYN
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else pass it, whole
)
# Seconds for handshakes that are under way; then so many turns at most to accept all who wait.
HANDSHAKE_SECONDS = 0.1
TURNS = 100
TURN_SECONDS = 0.005


async def take_last_connections(listener: socket.socket) -> None:
    """Return when all that wait are accepted; elsewhere than on Linux, new ones may come in all the same."""
    with contextlib.suppress(OSError):
        _refuse_newcomers(listener)
    await asyncio.sleep(HANDSHAKE_SECONDS)
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    for _ in range(TURNS):
        if not waiting.poll(0):
            return
        await asyncio.sleep(TURN_SECONDS)


def _refuse_newcomers(listener: socket.socket) -> None:
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in NO_NEWCOMERS))
    program = struct.pack("HP", len(NO_NEWCOMERS), ctypes.addressof(instructions))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
