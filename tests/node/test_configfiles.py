"""Files of the downward API: what a Pod says of itself, as kubelet writes it."""

from __future__ import annotations

import pytest

from kvtui.api.core.parts import DownwardAPIVolumeFile, ObjectFieldSelector, ResourceFieldSelector
from kvtui.api.core.pod import Container, ContainerResources, Pod, PodSpec
from kvtui.api.meta import ObjectMeta
from kvtui.errors import InvalidObject
from kvtui.node.volumes.configfiles import downward_field

POD = Pod(
    metadata=ObjectMeta(
        name="virt-launcher-web-x1",
        namespace="shop",
        uid="u",
        labels={"tier": "front", "app": "web"},
        annotations={"note": 'two\nlines and a "quote"'},
    ),
    spec=PodSpec(
        containers=[
            Container(
                name="compute",
                image="launcher",
                resources=ContainerResources(requests={"cpu": "100m", "memory": "96Mi"}, limits={"memory": "1500k"}),
            )
        ]
    ),
)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("metadata.name", "virt-launcher-web-x1"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "u"),
        ("metadata.labels", 'app="web"\ntier="front"'),
        ("metadata.labels['tier']", "front"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations", 'note="two\\nlines and a \\"quote\\""'),
    ],
)
def test_a_field_is_that_of_the_launcher(path: str, text: str) -> None:
    item = DownwardAPIVolumeFile(path="f", field_ref=ObjectFieldSelector(field_path=path))
    assert downward_field(POD, item) == text


@pytest.mark.parametrize(
    ("resource", "divisor", "text"),
    [
        ("requests.memory", None, "100663296"),
        ("requests.memory", "1Mi", "96"),
        ("limits.memory", "1Mi", "2"),
        ("requests.cpu", None, "1"),
        ("requests.cpu", "1m", "100"),
        ("limits.cpu", "0", "0"),
    ],
)
def test_a_resource_is_counted_in_its_divisor_and_rounded_up(resource: str, divisor: str | None, text: str) -> None:
    field = ResourceFieldSelector(resource=resource, divisor=divisor)
    assert downward_field(POD, DownwardAPIVolumeFile(path="f", resource_field_ref=field)) == text


@pytest.mark.parametrize(
    "item",
    [
        DownwardAPIVolumeFile(path="f", field_ref=ObjectFieldSelector(field_path="spec.nodeName")),
        DownwardAPIVolumeFile(path="f", resource_field_ref=ResourceFieldSelector(resource="used.memory")),
        DownwardAPIVolumeFile(
            path="f", resource_field_ref=ResourceFieldSelector(resource="limits.cpu", container_name="other")
        ),
        DownwardAPIVolumeFile(path="f"),
    ],
)
def test_what_a_volume_cannot_tell_is_refused(item: DownwardAPIVolumeFile) -> None:
    with pytest.raises(InvalidObject):
        downward_field(POD, item)
