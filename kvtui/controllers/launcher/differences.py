"""Where our launchers and controllers deliberately differ from upstream, and why. Everything else should be equal."""

from __future__ import annotations

DIFFERENCES: dict[str, str] = {
    "Pod volumes of kind image are left out": "no image is ever pulled by a kubelet, and API servers before the image "
    "volume feature would refuse the Pod",
    "containers have no commands, mounts or environment": "the node agent realises a launcher as a domain",
    "no attachment Pods (hp-volume-*) for hot-plugged volumes": "the agent opens volumes itself; a claim that waits "
    "for its first consumer is sent to the VMI's node by the selected-node annotation",
    "no temporary provisioning Pods for claims that wait for their first consumer": "the launcher itself is the first "
    "consumer; the agent only starts its domain once the volumes are there",
    "extended resource names of network attachments are requested when ExternalNetResourceInjection is off": "as "
    "upstream; noted because no injector exists on the local engine",
}
