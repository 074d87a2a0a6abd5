"""What the authorizer is asked about a path."""

from __future__ import annotations

import pytest

from kvtui.apiserver import router
from kvtui.apiserver.auth import roles
from kvtui.apiserver.auth.rbac import Rule

ROOT = "/apis/subresources.kubevirt.io/v1/namespaces/default"
ROLES = {role["metadata"]["name"]: role for role in roles.objects() if role["kind"] == "ClusterRole"}


def allows(role: str, method: str, path: str) -> bool:
    wanted = router.route(method, path, {}).attributes()
    return any(Rule.of(rule).allows(wanted) for rule in ROLES[role]["rules"])


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("virtualmachineinstances/a/vnc", "virtualmachineinstances/vnc"),
        ("virtualmachineinstances/a/vnc/screenshot", "virtualmachineinstances/vnc/screenshot"),
        ("virtualmachineinstances/a/sev/fetchcertchain", "virtualmachineinstances/sev/fetchcertchain"),
        ("virtualmachineinstances/a/evacuate/cancel", "virtualmachineinstances/evacuate/cancel"),
        ("virtualmachineinstances/a/portforward/22", "virtualmachineinstances/portforward"),
        ("virtualmachineinstances/a/portforward/53/udp", "virtualmachineinstances/portforward"),
        ("virtualmachines/a/portforward/22/tcp", "virtualmachines/portforward"),
        ("virtualmachineinstances/a/vnc/screenshot/more", "virtualmachineinstances/vnc/screenshot/more"),
        ("expand-vm-spec", "expand-vm-spec"),
    ],
)
def test_subresources_have_all_their_words(path: str, resource: str) -> None:
    wanted = router.route("GET", f"{ROOT}/{path}", {}).attributes()
    assert (wanted.full_resource, wanted.namespace) == (resource, "default")


def test_arguments_of_other_groups_are_no_resource() -> None:
    wanted = router.route("GET", "/api/v1/namespaces/default/services/a/proxy/b/c", {}).attributes()
    assert wanted.full_resource == "services/proxy"


@pytest.mark.parametrize(
    ("role", "method", "path", "allowed"),
    [
        ("kubevirt.io:admin", "GET", "virtualmachineinstances/a/vnc/screenshot", True),
        ("kubevirt.io:edit", "GET", "virtualmachineinstances/a/vnc/screenshot", False),
        ("kubevirt.io:edit", "GET", "virtualmachineinstances/a/vnc", True),
        ("kubevirt.io:view", "GET", "virtualmachineinstances/a/vnc", False),
        ("kubevirt.io:edit", "GET", "virtualmachineinstances/a/portforward/22/tcp", True),
        ("kubevirt.io:edit", "GET", "virtualmachines/a/portforward/22", True),
        ("kubevirt.io:view", "GET", "virtualmachineinstances/a/portforward/22", False),
        ("kubevirt.io:edit", "PUT", "virtualmachineinstances/a/evacuate/cancel", True),
        ("kubevirt.io:edit", "PUT", "virtualmachines/a/evacuate/cancel", True),
        ("kubevirt.io:view", "PUT", "virtualmachineinstances/a/evacuate/cancel", False),
        ("kubevirt.io:view", "GET", "virtualmachineinstances/a/sev/fetchcertchain", True),
        ("kubevirt.io:edit", "PUT", "virtualmachineinstances/a/sev/setupsession", True),
        ("kubevirt.io:edit", "PUT", "virtualmachines/a/migrate", False),
        ("kubevirt.io:migrate", "PUT", "virtualmachines/a/migrate", True),
        ("kubevirt.io:admin", "GET", "virtualmachineinstances/a/vsock", False),
        ("kubevirt.io:edit", "PUT", "expand-vm-spec", True),
    ],
)
def test_default_roles_reach_what_they_name(role: str, method: str, path: str, allowed: bool) -> None:
    assert allows(role, method, f"{ROOT}/{path}") is allowed
