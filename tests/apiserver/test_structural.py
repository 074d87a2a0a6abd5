from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtui.apiserver import crd
from kvtui.apiserver.schema import builtin
from kvtui.apiserver.schema.decoding import misfit
from kvtui.apiserver.schema.structural import Schema

Openapi = dict[str, Any]
TEXT: Openapi = {"type": "string"}
LIST: Openapi = {"type": "array", "items": TEXT}
XY: Openapi = {"type": "object", "properties": {"x": TEXT, "y": TEXT}}


def around(schema: Openapi) -> Schema:
    return Schema({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": schema}}}})


def complaints(schema: Openapi, value: Any, old: Any = None) -> list[tuple[str, str, str]]:
    made = around(schema)
    obj = {"spec": {"a": deepcopy(value)}}
    made.prune(obj)
    made.default(obj)
    before = {"spec": {"a": old}} if old is not None else None
    return [(c.reason.removeprefix("FieldValue"), c.field, c.message) for c in made.validate(obj, before)]


def body(text: str, value: str = '""') -> str:
    return f"Invalid value: {value}: spec.a in body {text}"


@pytest.mark.parametrize(
    ("schema", "value", "reason", "message"),
    [
        (TEXT, 1, "TypeInvalid", body('must be of type string: "integer"', '"integer"')),
        (TEXT, 1.5, "TypeInvalid", body('must be of type string: "number"', '"number"')),
        ({"type": "integer"}, "x", "TypeInvalid", body('must be of type integer: "string"', '"string"')),
        ({"type": "boolean"}, "x", "TypeInvalid", body('must be of type boolean: "string"', '"string"')),
        ({"type": "object"}, [], "TypeInvalid", body('must be of type object: "array"', '"array"')),
        (
            {"x-kubernetes-int-or-string": True},
            1.5,
            "TypeInvalid",
            body('must be of type integer,string: "number"', '"number"'),
        ),
        ({**TEXT, "enum": ["a", "b"]}, "c", "NotSupported", 'Unsupported value: "c": supported values: "a", "b"'),
        ({"type": "integer", "enum": [1, 2]}, 3, "NotSupported", 'Unsupported value: 3: supported values: "1", "2"'),
        ({**TEXT, "pattern": "^a+$"}, "b", "Invalid", body("should match '^a+$'", '"b"')),
        ({**TEXT, "minLength": 3}, "b", "Invalid", body("should be at least 3 chars long", '"b"')),
        ({**TEXT, "maxLength": 3}, "bäbb", "TooLong", "Too long: may not be more than 3 bytes"),
        ({"type": "integer", "minimum": 3}, 1, "Invalid", body("should be greater than or equal to 3", "1")),
        (
            {"type": "integer", "minimum": 3, "exclusiveMinimum": True},
            3,
            "Invalid",
            body("should be greater than 3", "3"),
        ),
        ({"type": "integer", "maximum": 3}, 4, "Invalid", body("should be less than or equal to 3", "4")),
        ({"type": "number", "multipleOf": 2}, 3, "Invalid", body("should be a multiple of 2", "3")),
        ({**LIST, "minItems": 2}, ["a"], "Invalid", body("should have at least 2 items", "1")),
        (
            {"type": "array", "items": TEXT, "maxItems": 1},
            ["a", "b"],
            "TooMany",
            "Too many: 2: must have at most 1 item",
        ),
        ({**TEXT, "format": "ipv4"}, "x", "TypeInvalid", body('must be of type ipv4: "x"', '"x"')),
    ],
)
def test_a_wrong_value_is_refused_in_upstreams_words(schema: Openapi, value: Any, reason: str, message: str) -> None:
    assert complaints(schema, value) == [(reason, "spec.a", message)]


@pytest.mark.parametrize(
    ("schema", "value", "messages"),
    [
        (
            {"type": "integer", "format": "int32"},
            3_000_000_000,
            ['Invalid value: "": Checked value must be of type integer with format int32 in spec.a'],
        ),
        (
            {
                "type": "object",
                "properties": {"x": TEXT, "y": TEXT},
                "oneOf": [{"required": ["x"]}, {"required": ["y"]}],
            },
            {"x": "1", "y": "2"},
            ['Invalid value: "": "spec.a" must validate one and only one schema (oneOf). Found 2 valid alternatives'],
        ),
        (
            {"type": "object", "properties": {"x": TEXT}, "not": {"required": ["x"]}},
            {"x": "1"},
            ['Invalid value: "": "spec.a" must not validate the schema (not)'],
        ),
        (
            {"type": "object", "properties": {"x": TEXT}, "anyOf": [{"required": ["x"]}]},
            {},
            ['Invalid value: "": "spec.a" must validate at least one schema (anyOf)', "Required value"],
        ),
    ],
)
def test_what_has_no_field_upstream_has_none_here(schema: Openapi, value: Any, messages: list[str]) -> None:
    found = complaints(schema, value)
    assert [message for _, _, message in found] == messages
    assert found[0][1] == "<nil>"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({**TEXT, "maxLength": 3}, "bäb"),
        ({"type": "integer"}, 1.0),
        ({"type": "number"}, 1),
        ({**TEXT, "nullable": True}, None),
        ({**TEXT, "format": "unheard-of"}, "x"),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}, "1Gi"),
        ({**TEXT, "format": "date-time"}, "2026-01-01T00:00:00.123Z"),
        ({**TEXT, "format": "duration"}, "1h3m"),
        ({**TEXT, "format": "byte"}, "aGk="),
        ({**TEXT, "format": "mac"}, "02:00:00:00:00:01"),
        ({**TEXT, "format": "cidr"}, "10.0.0.0/8"),
    ],
)
def test_a_fitting_value_passes(schema: Openapi, value: Any) -> None:
    assert complaints(schema, value) == []


def test_required_fields_are_named_one_by_one() -> None:
    schema = {"type": "object", "required": ["x", "y"], "properties": {"x": TEXT, "y": TEXT}}
    assert complaints(schema, {}) == [
        ("Required", "spec.a.x", "Required value"),
        ("Required", "spec.a.y", "Required value"),
    ]


def test_lists_with_keys_and_sets_have_no_item_twice() -> None:
    assert complaints({"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"}, ["a", "a", "a"]) == [
        ("Duplicate", "spec.a[1]", 'Duplicate value: "a"')
    ]
    keyed = {
        "type": "array",
        "items": {"type": "object", "required": ["n"], "properties": {"n": TEXT, "v": TEXT}},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["n"],
    }
    assert complaints(keyed, [{"n": "a"}, {"n": "a", "v": "x"}]) == [
        ("Duplicate", "spec.a[1]", 'Duplicate value: {"n":"a"}')
    ]


def test_unknown_fields_are_dropped_and_told() -> None:
    schema = around({"type": "array", "items": {"type": "object", "properties": {"x": TEXT}}})
    obj = {"apiVersion": "v", "kind": "k", "metadata": {"any": 1}, "spec": {"a": [{"x": "1", "y": 2}], "b": {}}}
    assert schema.prune(obj) == ["spec.a[0].y", "spec.b"]
    assert obj == {"apiVersion": "v", "kind": "k", "metadata": {"any": 1}, "spec": {"a": [{"x": "1"}]}}


def test_pruning_stops_where_unknown_fields_are_preserved_but_goes_on_below_declared_ones() -> None:
    schema = around(
        {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"known": {"type": "object", "properties": {"x": TEXT}}},
        }
    )
    obj = {"spec": {"a": {"other": {"y": 1}, "known": {"x": "1", "y": 2}}}}
    assert schema.prune(obj) == ["spec.a.known.y"]
    assert obj["spec"]["a"]["other"] == {"y": 1}


def test_an_embedded_object_keeps_its_head() -> None:
    schema = around(
        {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}}
    )
    obj = {"spec": {"a": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "n"}, "spec": {"z": 1}, "q": 1}}}
    assert schema.prune(obj) == ["spec.a.q", "spec.a.spec.z"]
    assert obj["spec"]["a"]["metadata"] == {"name": "n"}


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({}, {"x": "d", "m": {"y": "e"}}),
        ({"x": None, "n": {}}, {"x": "d", "n": {"y": "e"}, "m": {"y": "e"}}),
        ({"x": "own", "z": None}, {"x": "own", "z": None, "m": {"y": "e"}}),
        ({"plain": None}, {"x": "d", "m": {"y": "e"}}),
    ],
)
def test_defaults_fill_what_is_absent_or_null(given_: dict[str, Any], expected: dict[str, Any]) -> None:
    inner = {"type": "object", "properties": {"y": {**TEXT, "default": "e"}}}
    schema = around(
        {
            "type": "object",
            "properties": {
                "x": {**TEXT, "default": "d"},
                "n": inner,
                "m": {**inner, "default": {}},
                "z": {**TEXT, "nullable": True},
                "plain": TEXT,
            },
        }
    )
    obj = {"spec": {"a": given_}}
    schema.default(obj)
    assert obj == {"spec": {"a": expected}}


def test_defaults_are_not_shared_between_objects() -> None:
    schema = around({"type": "object", "properties": {"m": {"type": "object", "default": {}}}})
    one: dict[str, Any] = {"spec": {"a": {}}}
    other = deepcopy(one)
    schema.default(one)
    schema.default(other)
    assert one["spec"]["a"]["m"] is not other["spec"]["a"]["m"]


def test_an_update_is_not_blamed_for_what_was_wrong_before() -> None:
    schema = {"type": "object", "properties": {"x": {**TEXT, "maxLength": 1}, "z": {**TEXT, "maxLength": 1}}}
    assert complaints(schema, {"x": "22", "z": "33"}, {"x": "22", "z": "1"}) == [
        ("TooLong", "spec.a.z", "Too long: may not be more than 1 byte")
    ]
    keyed = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["n"],
        "items": {"type": "object", "required": ["n"], "properties": {"n": TEXT, "v": {**TEXT, "maxLength": 1}}},
    }
    old = [{"n": "a", "v": "33"}]
    assert complaints(keyed, [{"n": "b", "v": "2"}, *old], old) == []


NUMBERS: Openapi = {"type": "object", "properties": {"n": {"type": "integer"}, "l": {"type": "array", "items": TEXT}}}


@pytest.mark.parametrize(
    ("rule", "reason", "field", "message"),
    [
        ({"rule": "self.n > 3"}, "Invalid", "spec.a", "Invalid value: failed rule: self.n > 3"),
        ({"rule": "self.n > 3", "message": "too small"}, "Invalid", "spec.a", "Invalid value: too small"),
        (
            {"rule": "self.n > 3", "messageExpression": "'n is ' + string(self.n)"},
            "Invalid",
            "spec.a",
            "Invalid value: n is 1",
        ),
        (
            {"rule": "self.n > 3", "message": "no", "reason": "FieldValueForbidden"},
            "Forbidden",
            "spec.a",
            "Forbidden: no",
        ),
        (
            {"rule": "self.n > 3", "message": "no", "reason": "FieldValueRequired", "fieldPath": ".n"},
            "Required",
            "spec.a.n",
            "Required value: no",
        ),
        (
            {"rule": "self.missing == 1"},
            "Invalid",
            "spec.a",
            'Invalid value: "object": no such key: missing evaluating rule: self.missing == 1',
        ),
        (
            {"rule": "self.n / 0 == 1"},
            "Invalid",
            "spec.a",
            'Invalid value: "object": division by zero evaluating rule: self.n / 0 == 1',
        ),
    ],
)
def test_a_broken_rule_says_so(rule: dict[str, str], reason: str, field: str, message: str) -> None:
    assert complaints({**NUMBERS, "x-kubernetes-validations": [rule]}, {"n": 1}) == [(reason, field, message)]


@pytest.mark.parametrize(
    "rule",
    [
        "self.l.isSorted()",
        "self.l.exists(x, x.startsWith('a'))",
        "has(self.n) && !has(self.m)",
        "quantity('1Gi').isGreaterThan(quantity('1000Mi')) && quantity('1Ki') == quantity('1024')",
        "isQuantity('1Gi') && !isQuantity('x')",
        "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && !isSemver('1.2')",
        "url('https://a:80/b').getHostname() == 'a' && isURL('/x') && !isURL('no')",
        "'a1b22'.find('[0-9]+') == '1' && 'a1b22'.findAll('[0-9]+') == ['1', '22']",
        "self.?m.orValue(7) == 7",
        "self.l.join('-') == 'a-b' && '%d'.format([self.n]) == '1'",
        "[1, 2, 3].sum() == 6 && [3, 1].min() == 1",
    ],
)
def test_rules_have_the_functions_of_kubernetes(rule: str) -> None:
    schema = {**NUMBERS, "properties": {**NUMBERS["properties"], "m": {"type": "integer"}}}
    assert complaints({**schema, "x-kubernetes-validations": [{"rule": rule}]}, {"n": 1, "l": ["a", "b"]}) == []


def test_a_transition_rule_runs_on_update_only_and_not_for_new_items() -> None:
    immutable = {**NUMBERS, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]}
    assert complaints(immutable, {"n": 1}) == []
    assert complaints(immutable, {"n": 1}, {"n": 2}) == [("Invalid", "spec.a", "Invalid value: immutable")]
    assert complaints(immutable, {"n": 1}, {"n": 1}) == []
    assert complaints({"type": "array", "items": immutable}, [{"n": 1}], [{"n": 2}]) == []


def test_an_optional_old_value_lets_a_transition_rule_run_on_create() -> None:
    rule = {"rule": "!oldSelf.hasValue() || oldSelf.value().n <= self.n", "optionalOldSelf": True, "message": "shrunk"}
    schema = {**NUMBERS, "x-kubernetes-validations": [rule]}
    assert complaints(schema, {"n": 1}) == []
    assert complaints(schema, {"n": 1}, {"n": 2}) == [("Invalid", "spec.a", "Invalid value: shrunk")]


UNCHECKED = (
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


def test_rules_are_not_run_over_an_object_of_the_wrong_shape() -> None:
    schema = {**NUMBERS, "required": ["n"], "x-kubernetes-validations": [{"rule": "self.n > 3"}]}
    assert [message for _, _, message in complaints(schema, {})] == [
        "Required value",
        UNCHECKED,
    ]


def test_an_endless_rule_is_stopped() -> None:
    schema = {
        "type": "array",
        "items": {"type": "integer"},
        "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, self.all(z, x + y + z >= 0)))"}],
    }
    assert "cost limit exceeded" in complaints(schema, list(range(1000)))[0][2]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, width=16)
    | st.sampled_from(["a", "bb"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("nlxz"), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_any_value_is_pruned_defaulted_and_judged(value: Any) -> None:
    schema = around(
        {
            "type": "object",
            "properties": {
                "n": {"type": "integer", "default": 3, "format": "int32"},
                "l": {"type": "array", "items": {**TEXT, "pattern": "^a"}, "x-kubernetes-list-type": "set"},
                "x": {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}},
            },
            "x-kubernetes-validations": [{"rule": "self.n >= 0"}],
        }
    )
    obj = {"spec": {"a": value}}
    schema.prune(obj)
    schema.default(obj)
    schema.validate(obj)
    again = deepcopy(obj)
    assert schema.prune(again) == []
    schema.default(again)
    assert again == obj


def test_a_body_of_the_wrong_shape_is_told_in_the_words_of_a_go_decoder() -> None:
    pod = builtin.node("v1", "Pod")
    assert pod is not None
    assert misfit({"spec": {"containers": [{"name": 3}]}}, pod, "Pod", "v1") == (
        'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field '
        "Pod.spec.containers.name of type string"
    )
    assert misfit({"spec": {"priority": None, "containers": []}}, pod, "Pod", "v1") == ""


def definition() -> dict[str, Any]:
    made: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
                }
            ],
        },
    }
    crd.default(made)
    return made


def spec_of(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def test_a_definition_gets_its_defaults_and_passes() -> None:
    made = definition()
    assert made["spec"]["names"]["singular"] == "widget"
    assert made["spec"]["names"]["listKind"] == "WidgetList"
    assert made["spec"]["conversion"] == {"strategy": "None"}
    assert crd.validate(made) == []


PATH = "spec.validation.openAPIV3Schema.properties[spec]"


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        (lambda d: d["metadata"].update(name="x.y"), "metadata.name", 'must be spec.names.plural+"."+spec.group'),
        (lambda d: d["spec"].update(scope="X"), "spec.scope", 'supported values: "Cluster", "Namespaced"'),
        (lambda d: d["spec"]["names"].update(kind="wi_dget"), "spec.names.kind", "may have mixed case"),
        (lambda d: d["spec"]["names"].update(listKind="Widget"), "spec.names.listKind", "may not be the same"),
        (lambda d: d["spec"].update(preserveUnknownFields=True), "spec.preserveUnknownFields", "cannot set to true"),
        (lambda d: d["spec"]["versions"][0].update(storage=False), "spec.versions", "exactly one version marked"),
        (
            lambda d: d["spec"]["versions"][0].pop("schema"),
            "spec.versions[0].schema.openAPIV3Schema",
            "Required value",
        ),
        (lambda d: spec_of(d).pop("type"), f"{PATH}.type", "must not be empty for specified object fields"),
        (
            lambda d: spec_of(d).update(properties={"a": {"type": "array"}}),
            f"{PATH}.properties[a].items",
            "must be specified",
        ),
        (
            lambda d: spec_of(d).update(properties={"a": {**TEXT, "pattern": "(?=x)"}}),
            f"{PATH}.properties[a].pattern",
            "must be a valid regular expression",
        ),
        (
            lambda d: spec_of(d).update(properties={"a": {**TEXT, "default": 3}}),
            f"{PATH}.properties[a].default",
            'must be of type string: "integer"',
        ),
        (
            lambda d: spec_of(d).update(properties={"a": TEXT}, additionalProperties=TEXT),
            f"{PATH}.additionalProperties",
            "mutual exclusive",
        ),
        (
            lambda d: spec_of(d).update(properties={"a": {"type": "array", "items": TEXT, "uniqueItems": True}}),
            f"{PATH}.properties[a].uniqueItems",
            "uniqueItems cannot be set to true",
        ),
        (
            lambda d: spec_of(d).update(
                {"x-kubernetes-validations": [{"rule": "self.zz == 1"}], "properties": {"a": TEXT}}
            ),
            f"{PATH}.x-kubernetes-validations[0].rule",
            "undefined field 'zz'",
        ),
        (
            lambda d: spec_of(d).update({"x-kubernetes-validations": [{"rule": "1 + 1"}]}),
            f"{PATH}.x-kubernetes-validations[0].rule",
            "cel expression must evaluate to a bool",
        ),
        (
            lambda d: d["spec"]["versions"][0].update(
                additionalPrinterColumns=[{"name": "A", "type": "x", "jsonPath": ".a"}]
            ),
            "spec.additionalPrinterColumns[0].type",
            "must be one of boolean,date,integer,number,string",
        ),
        (
            lambda d: d["spec"]["versions"][0].update(
                subresources={"scale": {"specReplicasPath": ".x", "statusReplicasPath": ".status.r"}}
            ),
            "spec.subresources.scale.specReplicasPath",
            "should be a json path under .spec",
        ),
    ],
)
def test_a_definition_that_breaks_a_rule_is_refused(change: Any, field: str, text: str) -> None:
    made = definition()
    change(made)
    assert any(c.field == field and text in c.message for c in crd.validate(made))


def test_a_definition_is_established_at_once_and_a_clash_is_not() -> None:
    first = crd.with_status(definition(), [], "t1")
    assert [(c["type"], c["status"], c["reason"]) for c in first["status"]["conditions"]] == [
        ("NamesAccepted", "True", "NoConflicts"),
        ("Established", "True", "InitialNamesAccepted"),
    ]
    assert first["status"]["storedVersions"] == ["v1"]
    assert first["status"]["acceptedNames"]["shortNames"] == ["wd"]
    rival = definition()
    rival["metadata"]["name"] = "gadgets.example.com"
    rival["spec"]["names"] = {"plural": "gadgets", "singular": "widget", "kind": "Widget", "listKind": "GadgetList"}
    second = crd.with_status(rival, [first], "t2")
    assert crd.condition(second, "NamesAccepted") == "False"
    assert crd.condition(second, "Established") == "False"
    assert second["status"]["conditions"][0]["reason"] == "SingularConflict"


def test_stored_versions_are_only_added() -> None:
    made = crd.with_status(definition(), [], "t1")
    made["spec"]["versions"].insert(0, {**made["spec"]["versions"][0], "name": "v2"})
    made["spec"]["versions"][1]["storage"] = False
    assert crd.with_status(made, [], "t2")["status"]["storedVersions"] == ["v1", "v2"]


def test_names_of_an_established_definition_do_not_change() -> None:
    old = crd.with_status(definition(), [], "t1")
    new = deepcopy(old)
    new["spec"]["names"]["kind"] = "Gadget"
    assert [c.field for c in crd.validate(new, old)] == ["spec.names.kind"]


def test_a_protected_group_needs_an_approval() -> None:
    made = definition()
    made["spec"]["group"], made["metadata"]["name"] = "x.k8s.io", "widgets.x.k8s.io"
    assert "api-approved.kubernetes.io" in crd.validate(made)[0].field
    made["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, an experiment"}
    assert crd.validate(made) == []
    assert crd.condition(crd.with_status(made, [], "t"), "KubernetesAPIApprovalPolicyConformant") == "False"


def test_deletion_is_told_in_conditions_and_ends_without_the_finalizer() -> None:
    made = crd.with_status(definition(), [], "t1")
    made["metadata"]["finalizers"] = [crd.CLEANUP]
    pending = crd.terminating(made, "t2", in_progress=False)
    assert pending["status"]["conditions"][-1]["reason"] == "InstanceDeletionPending"
    running = crd.terminating(pending, "t3", in_progress=True)
    done = crd.terminated(running, "t4")
    assert crd.condition(done, "Terminating") == "False"
    assert done["metadata"]["finalizers"] == []


SCHEMA_WORDS = [
    "type",
    "properties",
    "items",
    "default",
    "enum",
    "pattern",
    "required",
    "allOf",
    "not",
    "additionalProperties",
    "nullable",
    "format",
    "minimum",
    "maxLength",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
    "rule",
]
SCHEMAS = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["object", "array", "string", "map", "(", "self"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*SCHEMA_WORDS, "a", "b"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(SCHEMAS, JSON)
def test_any_schema_is_refused_or_works(schema: Any, value: Any) -> None:
    made = definition()
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["a"] = schema
    table = builtin.node("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    assert table is not None
    if misfit(made, table, "CustomResourceDefinition", "apiextensions.k8s.io/v1"):
        return
    crd.default(made)
    crd.warnings(made)
    if crd.validate(made):
        return
    accepted = Schema(made["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    obj = {"a": value}
    accepted.prune(obj)
    accepted.default(obj)
    accepted.validate(obj)
    accepted.validate(obj, {"a": None})
