"""Where our controllers deliberately differ from upstream, and why. Everything else should be equal."""

from __future__ import annotations

DIFFERENCES: dict[str, str] = {
    "launcher Pods have no volumes of kind image": "no kubelet ever pulls an image for them, and API servers without "
    "that feature would refuse the Pod",
    "launcher Pods have no commands, mounts or environment": "the node agent realises a launcher as a domain",
    "there are no attachment Pods (hp-volume-*) for hot-plugged volumes": "the agent opens volumes itself; "
    "volumeStatus names the launcher as its attachment, and a claim that waits for its first consumer is sent to the "
    "VMI's node by the selected-node annotation",
    "events tell nothing of attachment Pods, virtiofs containers and mount paths in containers": "there are none; "
    "what goes wrong with a volume or a shared directory is SyncFailed or HotplugFailed, in libvirt's or our own words",
    "CPUs and memory are plugged into the running guest at once": "on one machine there is nowhere to move to first; a "
    "migration that began for it is called off, and a guest with CPUs of its own still moves to where it gets them",
    "a DataVolume that names a DataSource of another namespace carries kvtui.io/clones-from": "in place of upstream's "
    "signed tokens: only admission writes it, and nothing is cloned from a namespace that it has not seen",
    "a migration whose VMI does not exist becomes Failed and is removed": "upstream leaves one that was not final "
    "terminating for ever, because nothing takes its finalizer off",
    "a failed migration's target Pod is deleted at once": "nothing else would end a launcher that waits for a guest "
    "which will not come",
    "starting a Halted VM by a queued request shows no passing Failure condition": "upstream reports FailedCreate for "
    "the pass in which it rewrites the run strategy although that has succeeded",
    "autohealing looks only at the pool's own VMs": "upstream evaluates all VMs of the namespace",
    "an opportunistic pool lets a member go that was deleted to make the pool smaller": "upstream waits until the "
    "members, deleting ones included, are as many as the replicas, which then never comes about",
    "what upstream's recording rules sum up is on the metrics endpoint itself": "nobody runs a Prometheus with those "
    "rules beside an engine on one machine",
    "metrics name every instancetype and preference": "upstream names only those of a few vendors, whose telemetry "
    "would else carry names that are nobody's business; here nothing is sent anywhere",
    "metrics carry all labels of VMs": "upstream reads from the ConfigMap kubevirt-vm-labels-config which to "
    "leave out; these controllers watch no ConfigMaps",
    "CDI's configuration stays its own while the CDI object names none": "upstream's operator takes over what it finds "
    "there and reverts later edits",
    "a VM's firmware UUID is filled in when the VM is first seen": "upstream does so after its first start; admission "
    "gives every new VM one anyway",
    "the uid of a launcher is checked with the API server before a running VMI counts as lost": "a cache that lags "
    "behind a migration must not end a guest",
}
