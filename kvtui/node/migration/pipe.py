"""One pipe: a local socket and a TLS connection, what comes out of one going into the other, in a thread of its own.

A migration is no faster than its pipe. Streams of the event loop copy each byte several times in the interpreter; here
OpenSSL works on the sockets themselves, with the interpreter's lock released, and the agent's loop has nothing of it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

CHUNK, RECORD = 256 * 1024, 16 * 1024
LINGER = 10.0
"""Seconds that the far side has to finish once this side has said all."""


class Pipe:
    """Takes both sockets over, and closes them."""

    def __init__(self, plain: socket.socket, tls: ssl.SSLSocket) -> None:
        """The handshake is done."""
        self._plain, self._tls = plain, tls
        self._open = True
        self._lock = threading.Lock()

    def cut(self) -> None:
        """Ends `run` from another thread; what is under way is lost."""
        with self._lock:
            if self._open:
                for end in (self._plain, self._tls):
                    with contextlib.suppress(OSError):
                        # Not the method of a TLS socket, which would have the rest read as plain text.
                        socket.socket.shutdown(end, socket.SHUT_RDWR)

    def run(self) -> None:
        """Blocks until both sides have said all, or one of them is gone."""
        try:
            with contextlib.suppress(OSError):
                self._plain.setblocking(False)
                self._tls.setblocking(False)
                self._pump()
        finally:
            with self._lock:
                self._open = False
                self._plain.close()
                self._tls.close()

    def _pump(self) -> None:
        out, back = _Flow(), _Flow()
        while True:
            moved = out.fill(self._plain) | out.drain(self._tls) | back.fill(self._tls) | back.drain(self._plain)
            if out.done:
                self._farewell()
                return
            if back.done:
                # The guest's side may still speak, to nobody: a socket closed with something unread in it is an error
                # to its peer, who would not see the end that it is owed.
                self._plain.shutdown(socket.SHUT_WR)
                _discard(self._plain)
                return
            if not moved:
                _wait(
                    (self._plain, out.wants_more, back.pending),
                    (self._tls, back.wants_more, out.pending),
                )

    def _farewell(self) -> None:
        """TLS knows no half-close that everybody honours: what the far side says after our end is not for anybody."""
        with contextlib.suppress(OSError):
            self._tls.unwrap()
        socket.socket.shutdown(self._tls, socket.SHUT_WR)
        # Closed with something unread, TCP would take back what is still on its way.
        _discard(self._tls)


class _Flow:
    """One direction: a chunk that is filled from a socket and drained into another."""

    def __init__(self) -> None:
        self._room = memoryview(bytearray(CHUNK))
        self._rest = self._room[:0]
        self._ended = False

    @property
    def pending(self) -> bool:
        return bool(self._rest)

    @property
    def wants_more(self) -> bool:
        return not self._rest and not self._ended

    @property
    def done(self) -> bool:
        return self._ended and not self._rest

    def fill(self, source: socket.socket) -> bool:
        """Whether something came, the end included. OSError when the source is gone."""
        if not self.wants_more:
            return False
        filled = 0
        # TLS gives at most a record at a time.
        while not self._ended and len(self._room) - filled >= RECORD:
            try:
                count = source.recv_into(self._room[filled:])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError:
                if not filled:
                    raise
                break  # what came before goes on its way first
            self._ended = not count
            filled += count
        self._rest = self._room[:filled]
        return bool(filled) or self._ended

    def drain(self, target: socket.socket) -> bool:
        """Whether something went. OSError when the target is gone."""
        moved = False
        while self._rest:
            try:
                count = target.send(self._rest)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            self._rest = self._rest[count:]
            moved = True
        return moved


def _wait(*ends: tuple[socket.socket, bool, bool]) -> None:
    """Until an end can be read or written, as wanted; one of which nothing is wanted is left out, hung up or not."""
    poller = select.poll()
    for end, reads, writes in ends:
        if events := reads * select.POLLIN | writes * select.POLLOUT:
            poller.register(end, events)
    poller.poll()


def _discard(end: socket.socket) -> None:
    """Reads to the end, past TLS, for as long as the far side may take."""
    end.settimeout(LINGER)
    while socket.socket.recv(end, CHUNK):
        pass
