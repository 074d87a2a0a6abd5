"""Roles as data: what cannot work is refused, and what was stored all the same ends nothing."""

from __future__ import annotations

import pytest

from kvtui.apiserver.auth.rbac import aggregated
from tests.apiserver.api import Api, Object

ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
BROKEN: Object = {"matchExpressions": [{"key": "a", "operator": "="}]}


@pytest.mark.parametrize(
    ("selectors", "field"),
    [
        ([BROKEN], "aggregationRule.clusterRoleSelectors[0]"),
        ([], "aggregationRule.clusterRoleSelectors"),
    ],
)
async def test_an_aggregation_that_cannot_work_is_refused(api: Api, selectors: list[Object], field: str) -> None:
    body = {"metadata": {"name": "sum"}, "aggregationRule": {"clusterRoleSelectors": selectors}}
    answer = await api.post(ROLES, body)
    assert answer.code == 422, answer.body
    assert [cause["field"] for cause in answer.body["details"]["causes"]] == [field]


def test_a_broken_selector_matches_no_role() -> None:
    other = {"metadata": {"name": "other", "labels": {"a": "b"}}, "rules": [RULE]}
    good = {"matchLabels": {"a": "b"}}
    role = {"metadata": {"name": "sum"}, "aggregationRule": {"clusterRoleSelectors": [BROKEN, good]}}
    assert aggregated(role, [role, other]) == [RULE]
