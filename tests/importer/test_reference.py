"""Names of images, and where registries.conf sends them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvtui.importer import registries_conf
from kvtui.importer.reference import BadReference, parse
from kvtui.importer.registries_conf import BadRegistriesConf

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("docker://quay.io/kubevirt/fedora:latest", "quay.io/kubevirt/fedora:latest"),
        ("fedora", "docker.io/library/fedora:latest"),
        ("kubevirt/fedora", "docker.io/kubevirt/fedora:latest"),
        ("localhost/x:1", "localhost/x:1"),
        ("reg:5000/a/b", "reg:5000/a/b:latest"),
        (f"reg.io/a@{DIGEST}", f"reg.io/a@{DIGEST}"),
        (f"reg.io/a:1@{DIGEST}", f"reg.io/a:1@{DIGEST}"),
    ],
)
def test_short_names_are_completed(text: str, full: str) -> None:
    assert str(parse(text)) == full


@pytest.mark.parametrize(
    "text", ["", "UPPER/case", "a:b:c", "x@sha256:1", "../../etc", "a b", "reg.io/a:" + "t" * 129, "http://x/y"]
)
def test_what_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(BadReference):
        parse(text)


CONF = """
[[registry]]
prefix = "quay.io/kubevirt"
location = "quay.io/kubevirt"
[[registry.mirror]]
location = "127.0.0.1:5000/mirror"
insecure = true
[[registry.mirror]]
location = "digests.example/k"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "*.blocked.example"
blocked = true
"""


@pytest.fixture
def conf(tmp_path: Path) -> registries_conf.RegistriesConf:
    path = tmp_path / "registries.conf"
    path.write_text(CONF)
    return registries_conf.load(path)


def test_mirrors_come_first_and_the_image_itself_last(conf: registries_conf.RegistriesConf) -> None:
    found = conf.locations(parse("quay.io/kubevirt/fedora:1"))
    assert [(str(x.reference), x.insecure) for x in found] == [
        ("127.0.0.1:5000/mirror/fedora:1", True),
        ("quay.io/kubevirt/fedora:1", False),
    ]
    assert len(conf.locations(parse(f"quay.io/kubevirt/fedora@{DIGEST}"))) == 3


def test_a_prefix_ends_at_a_path_boundary(conf: registries_conf.RegistriesConf) -> None:
    assert len(conf.locations(parse("quay.io/kubevirtual/fedora"))) == 1


def test_a_blocked_registry_is_refused(conf: registries_conf.RegistriesConf) -> None:
    with pytest.raises(BadRegistriesConf, match="blocked"):
        conf.locations(parse("a.blocked.example/x"))


@pytest.mark.parametrize(
    "text", ["[[registry]]\n", "registry = 5", "x ==", '[[registry]]\nprefix="a.b/c"\n[[registry.mirror]]\n']
)
def test_a_broken_file_says_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "registries.conf"
    path.write_text(text)
    with pytest.raises(BadRegistriesConf):
        registries_conf.load(path)
