"""What guest agents say, well-meant and otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kvtui.node import guestanswers
from kvtui.node.guestanswers import BadAnswer


def answer(value: Any) -> str:
    return json.dumps({"return": value})


def test_filesystems_have_their_sizes_and_disks() -> None:
    found = guestanswers.filesystems(
        answer(
            [
                {
                    "name": "vda3",
                    "mountpoint": "/",
                    "type": "ext4",
                    "used-bytes": 47140864,
                    "total-bytes": 65892352,
                    "disk": [{"bus-type": "virtio", "bus": 0, "serial": "root", "dev": "/dev/vda3"}],
                },
                {"name": "sr0", "mountpoint": "/mnt", "type": "iso9660", "disk": []},
            ]
        )
    )
    assert [(f.mount, f.type, f.used, f.total, f.disks) for f in found] == [
        ("/", "ext4", 47140864, 65892352, (("root", "virtio"),)),
        ("/mnt", "iso9660", 0, 0, ()),
    ]


def test_users_commands_and_states_are_read() -> None:
    assert guestanswers.users(answer([{"user": "anna", "login-time": 1.5}]))[0].login == 1.5
    info = {"version": "7.2", "supported_commands": [{"name": "a", "enabled": True}, {"name": "b", "enabled": False}]}
    assert guestanswers.version(answer(info)).commands == {"a"}
    assert guestanswers.frozen(answer("frozen"))
    assert not guestanswers.frozen(answer("thawed"))
    assert guestanswers.started(answer({"pid": 7})) == 7
    assert guestanswers.ended(answer({"exited": False})) is None
    assert guestanswers.ended(answer({"exited": True, "exitcode": 3})) == guestanswers.Exit(3)
    assert guestanswers.ended(answer({"exited": True, "signal": 9})) == guestanswers.Exit(-1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "{}",
        '{"return": ',
        answer(None),
        answer({}),
        answer("x"),
        answer([1, 2]),
        answer([{"user": 7}]),
        answer([{"user": "a", "login-time": "never"}]),
        answer([{"user": "a", "login-time": 1e300}]),
        '{"return": ' + "[" * 100_000,
        answer(["x" * 2**20]),
    ],
)
def test_an_answer_of_another_shape_is_none(text: str) -> None:
    with pytest.raises(BadAnswer):
        guestanswers.users(text)


@pytest.mark.parametrize("size", [-1, 2**63, 10**300, "7", 1.5])
def test_sizes_that_nothing_has_are_refused(size: Any) -> None:
    with pytest.raises(BadAnswer):
        guestanswers.filesystems(answer([{"name": "a", "mountpoint": "/", "type": "x", "used-bytes": size}]))


def test_long_lists_and_words_are_cut_and_cleaned() -> None:
    users = guestanswers.users(answer([{"user": f"\x1b]0;pwned\x07{n}"} for n in range(5000)]))
    assert len(users) == guestanswers.MOST
    assert "\x1b" not in users[0].name
    assert "\x07" not in users[0].name
    assert len(guestanswers.clean("x" * 5000)) == guestanswers.WORD


def test_the_system_is_read_from_what_libvirt_collects() -> None:
    found = guestanswers.system(
        {
            "os.id": "debian",
            "os.name": "Debian",
            "hostname": "guest",
            "timezone.name": "UTC",
            "if.count": 2,
            "if.0.name": "lo",
            "if.0.hwaddr": "00:00:00:00:00:00",
            "if.1.name": "eth0",
            "if.1.hwaddr": "02:00:00:00:00:01",
            "if.1.addr.count": 2,
            "if.1.addr.0.addr": "10.0.2.2",
            "if.1.addr.1.addr": "fe80::1",
        }
    )
    assert dict(found.os) == {"id": "debian", "name": "Debian"}
    assert (found.hostname, found.timezone) == ("guest", "UTC")
    assert found.nics[1].ips == ("10.0.2.2", "fe80::1")


def test_counts_that_lie_cost_nothing() -> None:
    found = guestanswers.system({"if.count": 2**60, "if.0.addr.count": "many", "hostname": b"\xff"})
    assert len(found.nics) == guestanswers.MOST
    assert found.nics[0].ips == ()
