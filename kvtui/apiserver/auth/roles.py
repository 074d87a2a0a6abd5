"""The roles that every engine has: Kubernetes' own, KubeVirt's, CDI's, and those of kvtui's controllers and agents.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings,
KubeVirt's and CDI's operator-installed ClusterRoles.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
_API = "rbac.authorization.k8s.io/v1"
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_ALL = (*_READ, *_WRITE)
CONTROLLER_USER = "system:serviceaccount:kubevirt:kubevirt-controller"


def _rule(groups: str, resources: str, *verbs: str, names: str = "") -> Object:
    rule: Object = {
        "apiGroups": ["" if g == "core" else g for g in groups.split()],
        "resources": resources.split(),
        "verbs": list(verbs),
    }
    if names:
        rule["resourceNames"] = names.split()
    return rule


def _paths(*paths: str) -> Object:
    return {"nonResourceURLs": list(paths), "verbs": ["get"]}


def _role(name: str, *rules: Object, into: str = "") -> Object:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    labels.update({f"{_AGGREGATE}{target}": "true" for target in into.split()})
    return {
        "apiVersion": _API,
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": labels},
        "rules": list(rules),
    }


def _aggregate(name: str, into: str = "") -> Object:
    role = _role(name, into=into)
    role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {f"{_AGGREGATE}{name}": "true"}}]}
    return role


def _bind(name: str, role: str, kind: str, *subjects: str) -> Object:
    group = {"apiGroup": "rbac.authorization.k8s.io"}
    return {
        "apiVersion": _API,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
        "roleRef": {**group, "kind": "ClusterRole", "name": role},
        "subjects": [{**group, "kind": kind, "name": s} for s in subjects],
    }


_CORE_EDIT = (
    "pods pods/attach pods/exec pods/portforward pods/proxy configmaps endpoints persistentvolumeclaims "
    "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/proxy"
)
_CORE_VIEW = (
    "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods pods/log pods/status "
    "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status bindings events "
    "limitranges namespaces namespaces/status resourcequotas resourcequotas/status"
)
_APPS = (
    "controllerrevisions daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets "
    "statefulsets/scale"
)
_KUBEVIRT = "virtualmachines virtualmachineinstances virtualmachineinstancepresets virtualmachineinstancereplicasets"
_SNAPSHOTS = "virtualmachinesnapshots virtualmachinesnapshotcontents virtualmachinerestores"
_INSTANCETYPES = "virtualmachineinstancetypes virtualmachinepreferences"
_CLUSTER_INSTANCETYPES = "virtualmachineclusterinstancetypes virtualmachineclusterpreferences"
_SUB = "subresources.kubevirt.io"
_VMI_READ = (
    "virtualmachineinstances/guestosinfo virtualmachineinstances/filesystemlist "
    "virtualmachineinstances/userlist virtualmachineinstances/sev/fetchcertchain "
    "virtualmachineinstances/sev/querylaunchmeasurement virtualmachineinstances/objectgraph"
)
_VMI_STREAM = (
    "virtualmachineinstances/console virtualmachineinstances/vnc virtualmachineinstances/portforward "
    "virtualmachineinstances/usbredir"
)
_VMI_WRITE = (
    "virtualmachineinstances/pause virtualmachineinstances/unpause virtualmachineinstances/addvolume "
    "virtualmachineinstances/removevolume virtualmachineinstances/freeze virtualmachineinstances/unfreeze "
    "virtualmachineinstances/softreboot virtualmachineinstances/reset virtualmachineinstances/sev/setupsession "
    "virtualmachineinstances/sev/injectlaunchsecret virtualmachineinstances/evacuate/cancel"
)
_VM_READ = "virtualmachines/expand-spec virtualmachines/objectgraph"
_VM_WRITE = (
    "virtualmachines/start virtualmachines/stop virtualmachines/restart virtualmachines/addvolume "
    "virtualmachines/removevolume virtualmachines/memorydump virtualmachines/removememorydump "
    "virtualmachines/evacuate/cancel"
)
_OTHER_CUSTOM = (
    ("snapshot.kubevirt.io", _SNAPSHOTS),
    ("export.kubevirt.io", "virtualmachineexports"),
    ("clone.kubevirt.io", "virtualmachineclones"),
    ("backup.kubevirt.io", "virtualmachinebackups virtualmachinebackuptrackers"),
    ("instancetype.kubevirt.io", _INSTANCETYPES),
    ("pool.kubevirt.io", "virtualmachinepools virtualmachinepools/scale"),
)
_CDI = "datavolumes dataimportcrons datasources volumeimportsources volumeuploadsources volumeclonesources"


def _kubernetes() -> list[Object]:
    return [
        _role("cluster-admin", _rule("*", "*", "*"), {"nonResourceURLs": ["*"], "verbs": ["*"]}),
        _role(
            "system:discovery",
            _paths(
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ),
        ),
        _role("system:public-info-viewer", _paths("/healthz", "/livez", "/readyz", "/version", "/version/")),
        _role(
            "system:basic-user",
            _rule("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
            _rule("authentication.k8s.io", "selfsubjectreviews", "create"),
        ),
        _role(
            "system:service-account-issuer-discovery", _paths("/.well-known/openid-configuration", "/openid/v1/jwks")
        ),
        _role(
            "system:monitoring",
            _paths("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/*", "/readyz", "/readyz/*"),
        ),
        _role(
            "system:auth-delegator",
            _rule("authentication.k8s.io", "tokenreviews", "create"),
            _rule("authorization.k8s.io", "subjectaccessreviews", "create"),
        ),
        _aggregate("admin"),
        _aggregate("edit", into="admin"),
        _aggregate("view", into="edit"),
        _role(
            "system:aggregate-to-admin",
            _rule("authorization.k8s.io", "localsubjectaccessreviews", "create"),
            _rule("rbac.authorization.k8s.io", "rolebindings roles", *_ALL),
            into="admin",
        ),
        _role(
            "system:aggregate-to-edit",
            _rule("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", *_READ),
            _rule("core", "serviceaccounts", "impersonate"),
            _rule("core", f"{_CORE_EDIT} secrets events", *_WRITE),
            _rule("core", "pods/eviction serviceaccounts/token", "create"),
            _rule("apps", _APPS, *_WRITE),
            _rule("autoscaling", "horizontalpodautoscalers", *_WRITE),
            _rule("batch", "cronjobs jobs", *_WRITE),
            _rule("policy", "poddisruptionbudgets", *_WRITE),
            _rule("networking.k8s.io", "ingresses networkpolicies", *_WRITE),
            _rule("coordination.k8s.io", "leases", *_ALL),
            into="edit",
        ),
        _role(
            "system:aggregate-to-view",
            _rule("core", _CORE_VIEW, *_READ),
            _rule("discovery.k8s.io", "endpointslices", *_READ),
            _rule("apps", _APPS, *_READ),
            _rule("autoscaling", "horizontalpodautoscalers", *_READ),
            _rule("batch", "cronjobs jobs", *_READ),
            _rule("policy", "poddisruptionbudgets poddisruptionbudgets/status", *_READ),
            _rule("networking.k8s.io", "ingresses networkpolicies", *_READ),
            _rule("metrics.k8s.io", "pods nodes", *_READ),
            _rule("k8s.cni.cncf.io", "network-attachment-definitions", *_READ),
            into="view",
        ),
        _bind("cluster-admin", "cluster-admin", "Group", "system:masters"),
        _bind("system:monitoring", "system:monitoring", "Group", "system:monitoring"),
        _bind("system:discovery", "system:discovery", "Group", "system:authenticated"),
        _bind("system:basic-user", "system:basic-user", "Group", "system:authenticated"),
        _bind(
            "system:public-info-viewer",
            "system:public-info-viewer",
            "Group",
            "system:authenticated",
            "system:unauthenticated",
        ),
        _bind(
            "system:service-account-issuer-discovery",
            "system:service-account-issuer-discovery",
            "Group",
            "system:serviceaccounts",
        ),
    ]


def _kubevirt_edit() -> list[Object]:
    return [
        _rule("kubevirt.io", _KUBEVIRT, *_ALL),
        _rule("kubevirt.io", "virtualmachineinstancemigrations", *_READ),
        _rule(_SUB, f"{_VMI_STREAM} {_VMI_READ} {_VM_READ}", "get"),
        _rule(_SUB, f"{_VMI_WRITE} {_VM_WRITE} expand-vm-spec", "update"),
        _rule(_SUB, "virtualmachines/portforward", "get"),
        *(_rule(group, resources, *_ALL) for group, resources in _OTHER_CUSTOM),
        _rule("kubevirt.io", "kubevirts", "get", "list"),
        _rule("migrations.kubevirt.io", "migrationpolicies", *_READ),
    ]


def _kubevirt() -> list[Object]:
    return [
        _role(
            "kubevirt.io:admin",
            *_kubevirt_edit(),
            _rule(_SUB, "virtualmachineinstances/vnc/screenshot", "get"),
            into="admin",
        ),
        _role("kubevirt.io:edit", *_kubevirt_edit(), into="edit"),
        _role(
            "kubevirt.io:view",
            _rule("kubevirt.io", f"{_KUBEVIRT} virtualmachineinstancemigrations", *_READ),
            _rule("kubevirt.io", "kubevirts", "get", "list"),
            _rule(_SUB, f"{_VMI_READ} {_VM_READ}", "get"),
            _rule(_SUB, "expand-vm-spec", "update"),
            *(_rule(group, resources, *_READ) for group, resources in _OTHER_CUSTOM),
            _rule("migrations.kubevirt.io", "migrationpolicies", *_READ),
            into="view",
        ),
        _role(
            "kubevirt.io:default",
            _rule(_SUB, "version guestfs", "get", "list"),
            _rule("kubevirt.io", "kubevirts", "get", "list"),
        ),
        _role(
            "kubevirt.io:migrate",
            _rule(_SUB, "virtualmachines/migrate", "update"),
            _rule("kubevirt.io", "virtualmachineinstancemigrations", *_ALL),
        ),
        _role("instancetype.kubevirt.io:view", _rule("instancetype.kubevirt.io", _CLUSTER_INSTANCETYPES, *_READ)),
        _bind("kubevirt.io:default", "kubevirt.io:default", "Group", "system:authenticated", "system:unauthenticated"),
        _bind("instancetype.kubevirt.io:view", "instancetype.kubevirt.io:view", "Group", "system:authenticated"),
    ]


def _cdi() -> list[Object]:
    edit = [
        _rule("cdi.kubevirt.io", _CDI, "*"),
        _rule("cdi.kubevirt.io", "datavolumes/source", "create"),
        _rule("upload.cdi.kubevirt.io", "uploadtokenrequests", "*"),
        _rule("forklift.cdi.kubevirt.io", "ovirtvolumepopulators openstackvolumepopulators", "*"),
    ]
    return [
        _role("cdi.kubevirt.io:admin", *edit, into="admin"),
        _role("cdi.kubevirt.io:edit", *edit, into="edit"),
        _role(
            "cdi.kubevirt.io:view",
            _rule("cdi.kubevirt.io", f"{_CDI} cdiconfigs storageprofiles objecttransfers", *_READ),
            _rule("forklift.cdi.kubevirt.io", "ovirtvolumepopulators openstackvolumepopulators", *_READ),
            into="view",
        ),
        _role("cdi.kubevirt.io:clone-sourcer", _rule("cdi.kubevirt.io", "datavolumes/source", "create")),
        _role("cdi.kubevirt.io:config-reader", _rule("cdi.kubevirt.io", "cdiconfigs storageprofiles", *_READ)),
        _bind("cdi.kubevirt.io:config-reader", "cdi.kubevirt.io:config-reader", "Group", "system:authenticated"),
    ]


_KUBEVIRT_GROUPS = (
    "kubevirt.io migrations.kubevirt.io instancetype.kubevirt.io pool.kubevirt.io snapshot.kubevirt.io "
    "clone.kubevirt.io export.kubevirt.io backup.kubevirt.io plugin.kubevirt.io cdi.kubevirt.io "
    "forklift.cdi.kubevirt.io k8s.cni.cncf.io"
)


def _kvtui() -> list[Object]:
    """Secrets, ConfigMaps, claims, volumes, tokens and lists of instances are not in the agents' role.

    See the module `nodes`.
    """
    return [
        _role(
            "kvtui:controller",
            _rule(
                "core",
                "pods pods/status pods/binding pods/eviction persistentvolumeclaims "
                "persistentvolumeclaims/status persistentvolumes persistentvolumes/status nodes nodes/status events "
                "configmaps secrets serviceaccounts services endpoints namespaces resourcequotas "
                "resourcequotas/status limitranges bindings",
                *_ALL,
            ),
            _rule("events.k8s.io", "events", *_ALL),
            _rule("apps", "controllerrevisions", *_ALL),
            _rule("coordination.k8s.io", "leases", *_ALL),
            _rule("policy", "poddisruptionbudgets poddisruptionbudgets/status", *_ALL),
            _rule("discovery.k8s.io", "endpointslices", *_ALL),
            _rule("storage.k8s.io", "storageclasses volumeattachments csinodes csidrivers", *_ALL),
            _rule("scheduling.k8s.io", "priorityclasses", *_READ),
            _rule("apiextensions.k8s.io", "customresourcedefinitions", *_READ),
            _rule("authorization.k8s.io", "subjectaccessreviews", "create"),
            _rule(
                "certificates.k8s.io",
                "certificatesigningrequests certificatesigningrequests/approval certificatesigningrequests/status",
                *_ALL,
            ),
            _rule(_KUBEVIRT_GROUPS, "*", *_ALL),
            _rule("cdi.kubevirt.io", "datavolumes/source", "create"),
            _rule(f"{_SUB} upload.cdi.kubevirt.io", "*", "get", "update", "create"),
            _rule("metrics.k8s.io", "nodes pods", *_READ),
        ),
        _role(
            "kvtui:agent",
            _rule("core", "nodes nodes/status", *_READ, "create", "patch", "update"),
            _rule("core", "pods", *_READ, "delete", "patch", "update"),
            _rule("core", "pods/status", "get", "patch", "update"),
            _rule("core events.k8s.io", "events", "create", "patch", "update"),
            _rule("coordination.k8s.io", "leases", "get", "create", "patch", "update"),
            _rule("core", "namespaces services", *_READ),
            _rule("discovery.k8s.io", "endpointslices", *_READ),
            _rule("networking.k8s.io", "networkpolicies", *_READ),
            _rule("kubevirt.io", "virtualmachineinstances", "get", "patch", "update"),
            _rule("kubevirt.io", "virtualmachineinstancemigrations", *_READ, "patch"),
            _rule("kubevirt.io", "kubevirts", *_READ),
            _rule("k8s.cni.cncf.io", "network-attachment-definitions", *_READ),
        ),
        # For a scraper's account: everything that tells how the engine does, and nothing else.
        _role(
            "kvtui:monitoring",
            _paths("/healthz", "/livez", "/metrics", "/metrics/*", "/readyz"),
            _rule("core", "nodes", *_READ),
            _rule("core", "nodes/proxy", "get"),
        ),
        _bind("kvtui:controller", "kvtui:controller", "User", CONTROLLER_USER),
        _bind("kvtui:agents", "kvtui:agent", "Group", "system:nodes"),
    ]


def objects() -> list[Object]:
    """All roles and bindings."""
    return [*_kubernetes(), *_kubevirt(), *_cdi(), *_kvtui()]
