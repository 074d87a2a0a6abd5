from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtui.api.selectors import (
    EVERYTHING,
    from_flexible,
    from_object,
    label_key_problem,
    parse_field_selector,
    parse_label_selector,
)
from kvtui.errors import InvalidSelector

WEB = {"app": "web", "tier": "front", "rank": "7"}


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", WEB, True),
        ("app", WEB, True),
        ("!app", WEB, False),
        ("!old", WEB, True),
        ("app=web", WEB, True),
        ("app==web", WEB, True),
        ("app!=web", WEB, False),
        ("app!=db", WEB, True),
        ("old!=x", WEB, True),
        ("app in (web, db)", WEB, True),
        ("app in (db)", WEB, False),
        ("app notin (db)", WEB, True),
        ("old notin (db)", WEB, True),
        ("rank>5", WEB, True),
        ("rank<5", WEB, False),
        ("app>5", WEB, False),
        ("app=web,tier=front,!old", WEB, True),
        ("app=web,tier=back", WEB, False),
        ("empty=", {"empty": ""}, True),
        ("empty=,app", {"empty": "", "app": "x"}, True),
        ("empty=", {}, False),
        ("example.com/name=v", {"example.com/name": "v"}, True),
        ("app", None, False),
    ],
)
def test_a_label_selector_matches_as_kubernetes_does(text: str, labels: dict[str, str] | None, matches: bool) -> None:
    assert parse_label_selector(text).matches(labels) is matches


@pytest.mark.parametrize(
    "text",
    [
        "=",
        ",",
        "a,",
        "a in",
        "a in (",
        "a in b",
        "a in (b",
        "a b",
        "!a=b",
        "a>x",
        "-a=b",
        "a=-b",
        "a=" + "x" * 64,
        "a/b/c=d",
        "/a",
        "a==(b)",
        "a=b=c",
        "a!b",
    ],
)
def test_a_malformed_label_selector_is_refused(text: str) -> None:
    with pytest.raises(InvalidSelector):
        parse_label_selector(text)


@given(st.text(alphabet="ab=!,()<> in/.-", max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        selector = parse_label_selector(text)
    except InvalidSelector:
        return
    assert parse_label_selector(str(selector)) == selector


def test_a_selector_object_has_labels_and_expressions() -> None:
    selector = from_object(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        }
    )
    assert selector.matches(WEB)
    assert not selector.matches({**WEB, "old": ""})


def test_no_selector_matches_nothing_and_an_empty_one_everything() -> None:
    assert not from_object(None).matches(WEB)
    assert from_object({}).matches(WEB)


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["b"]},
        {"key": "a", "operator": "Near", "values": ["b"]},
    ],
)
def test_an_expression_that_makes_no_sense_is_refused(expression: dict[str, object]) -> None:
    with pytest.raises(InvalidSelector):
        from_object({"matchExpressions": [expression]})


def test_a_migration_policy_selects_by_a_plain_map_or_by_match_labels() -> None:
    assert from_flexible({"app": "web"}).matches(WEB)
    assert from_flexible({"matchLabels": {"app": "web"}}).matches(WEB)
    assert not from_flexible({"matchLabels": {"app": "db"}}).matches(WEB)
    assert from_flexible({}) is EVERYTHING


def test_a_field_selector_compares_strings_and_unescapes() -> None:
    values = {"metadata.name": "a,b", "status.phase": ""}
    selector = parse_field_selector(r"metadata.name=a\,b,status.phase!=Failed")
    assert selector.matches(lambda path: values.get(path, ""))
    assert selector.exact("metadata.name") == "a,b"
    assert str(selector) == r"metadata.name=a\,b,status.phase!=Failed"


@pytest.mark.parametrize("text", ["metadata.name", "a in (b)", r"a=b\x", "a=b=c"])
def test_a_malformed_field_selector_is_refused(text: str) -> None:
    with pytest.raises(InvalidSelector):
        parse_field_selector(text)


def test_a_field_outside_the_allowed_ones_is_refused() -> None:
    with pytest.raises(InvalidSelector, match=r"field label not supported: spec\.x"):
        parse_field_selector("spec.x=1", {"metadata.name"})


def test_a_label_key_has_at_most_one_prefix() -> None:
    assert label_key_problem("kubevirt.io/domain") == ""
    assert label_key_problem("a/b/c")
    assert label_key_problem("UPPER/x")
