"""Network namespaces of pods: made, removed, and entered for a socket or a setting.

Only a thread can enter a namespace, and it must go back before it serves anyone else; a socket stays in the
namespace in which it was made. What a thread can do there costs no process.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from kvtui.node.network.shell import run
from kvtui.node.network.types import NetworkFailed

T = TypeVar("T")
DIRECTORY = Path("/run/netns")
_SIOCGIFMTU = 0x8921
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
    return await _inside(name, lambda: socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC))


async def mtu(name: str, link: str) -> int:
    """Bytes. Raises NetworkFailed when there is no such link."""

    def ask() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asked:
            answer = fcntl.ioctl(asked, _SIOCGIFMTU, struct.pack("16s16x", link.encode()))
            return int(struct.unpack_from("i", answer, 16)[0])

    return await _inside(name, ask)


async def set_sysctls(name: str, settings: Mapping[str, str]) -> None:
    """Sets kernel parameters by dotted name. Raises NetworkFailed."""

    def put() -> None:
        # The kernel shows in /proc/sys/net the settings of the namespace of the thread that opens a file there.
        for key, value in settings.items():
            Path("/proc/sys", *key.split(".")).write_text(value, encoding="ascii")

    await _inside(name, put)


async def _inside(name: str, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_thread, _work_in, name, work)


def _work_in(name: str, work: Callable[[], T]) -> T:
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
            return work()
        except OSError as error:
            raise NetworkFailed(f"network namespace {name}: {error}") from error
        finally:
            _enter(home)
    finally:
        os.close(home)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise NetworkFailed(f"a network namespace cannot be entered: {os.strerror(number)}")
