from __future__ import annotations

import pytest

from kvtui.apiserver.selectors import field_value, matches_fields, parse_fields
from kvtui.errors import InvalidSelector

POD = {
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {"nodeName": "node-1"},
    "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("spec.nodeName=node-1,status.phase!=Succeeded", True),
        ("metadata.name=q", False),
        ("spec.hostNetwork=false", True),
        ("status.podIPs=10.0.0.1", True),
    ],
)
def test_pods_are_selected_by_their_fields(text: str, matches: bool) -> None:
    assert matches_fields(parse_fields(text, "", "pods"), POD) is matches


def test_events_are_found_by_what_they_are_about() -> None:
    event = {"involvedObject": {"name": "p"}, "source": {"component": "agent"}}
    assert field_value(event, "involvedObject.name") == "p"
    assert field_value(event, "source") == "agent"
    assert field_value(event, "involvedObject.namespace") == ""


def test_a_custom_kind_is_selected_by_its_selectable_fields() -> None:
    selector = parse_fields("spec.host=a", "example.com", "routes", selectable=(".spec.host",))
    assert matches_fields(selector, {"spec": {"host": "a"}})


def test_a_field_that_a_kind_does_not_offer_is_refused_in_its_words() -> None:
    with pytest.raises(InvalidSelector, match=r"field label not supported: spec\.x"):
        parse_fields("spec.x=1", "", "pods")
    with pytest.raises(InvalidSelector, match=r'"spec\.x" is not a known field selector: only'):
        parse_fields("spec.x=1", "", "configmaps")
    with pytest.raises(InvalidSelector, match=r"metadata\.namespace"):
        parse_fields("metadata.namespace=1", "", "nodes", namespaced=False)
