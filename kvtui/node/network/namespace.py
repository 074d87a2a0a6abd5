"""Network namespaces of pods: made, removed, and entered for a socket.

Only a thread can enter a namespace, and it must go back before it serves anyone else; a socket stays in the
namespace in which it was made.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kvtui.node.network.shell import run
from kvtui.node.network.types import NetworkFailed

DIRECTORY = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_thread = ThreadPoolExecutor(1, thread_name_prefix="netns")


def path(name: str) -> Path:
    return DIRECTORY / name


def exists(name: str) -> bool:
    return path(name).exists()


async def create(name: str) -> None:
    """Raises NetworkFailed."""
    await run("ip", "netns", "add", name)


async def delete(name: str) -> None:
    """With all links in it. Nothing happens when it is gone already."""
    if exists(name):
        await run("ip", "netns", "delete", name)


async def open_socket(name: str, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    """A non-blocking socket inside the namespace. Raises NetworkFailed when there is none of that name."""
    return await asyncio.get_running_loop().run_in_executor(_thread, _socket_in, name, family, kind)


def _socket_in(name: str, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            there = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NetworkFailed(f"there is no network namespace {name}") from error
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        finally:
            _enter(home)
    finally:
        os.close(home)
    return made


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise NetworkFailed(f"a network namespace cannot be entered: {os.strerror(number)}")
