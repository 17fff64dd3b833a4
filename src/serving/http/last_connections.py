"""Accepts all pending connections, and no new ones, before a listening socket is closed.

Closing the socket alone would reset connections that wait to be accepted, and lose the requests sent on them.
"""

import asyncio
import contextlib
import ctypes
import select
import socket
import struct

# Linux's socket option for a packet filter.
SO_ATTACH_FILTER = 26
# A classic BPF program: drop packets that open a connection (SYN without ACK in the TCP flags), and pass the rest of a
# handshake. New clients then retry, and are refused once the socket is closed.
NO_NEWCOMERS = (
    (0x30, 0, 0, 13),  # load the flags' byte
    (0x54, 0, 0, 0x12),  # mask ACK and SYN
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # else pass all of it
)
# Seconds for handshakes in progress; then at most so many loop iterations to accept all pending connections.
HANDSHAKE_SECONDS = 0.1
TURNS = 100
TURN_SECONDS = 0.005


async def take_last_connections(listener: socket.socket) -> None:
    """Return when all pending connections are accepted; on other systems than Linux, new ones may still arrive."""
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
