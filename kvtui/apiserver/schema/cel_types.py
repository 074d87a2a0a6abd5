"""Types for CEL's checker: a schema becomes protobuf message types, so that rules over undefined fields are refused.

Source: https://kubernetes.io/docs/reference/using-api/cel/#type-checking
"""

from __future__ import annotations

import re
from typing import Any

from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2

from kvtui.apiserver.schema import cel_library
from kvtui.apiserver.schema.cel import WRONG_TYPE, escaped
from kvtui.apiserver.schema.node import Node

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "object"
_SCALARS = {
    "string": (_Field.TYPE_STRING, "string", "google.protobuf.StringValue"),
    "boolean": (_Field.TYPE_BOOL, "bool", "google.protobuf.BoolValue"),
    "integer": (_Field.TYPE_INT64, "int", "google.protobuf.Int64Value"),
    "number": (_Field.TYPE_DOUBLE, "double", "google.protobuf.DoubleValue"),
}
_DYNAMIC = "google.protobuf.Value"


class _Messages:
    """Builds one file of message types."""

    def __init__(self) -> None:
        self.file = descriptor_pb2.FileDescriptorProto(name="schema.proto", package=_PACKAGE, syntax="proto2")
        for dependency in (struct_pb2, timestamp_pb2, duration_pb2, wrappers_pb2):
            self.file.dependency.append(dependency.DESCRIPTOR.name)
        self._names: dict[int, str] = {}

    def pool(self) -> descriptor_pool.DescriptorPool:
        pool = descriptor_pool.DescriptorPool()
        for dependency in (struct_pb2, timestamp_pb2, duration_pb2, wrappers_pb2):
            pool.AddSerializedFile(dependency.DESCRIPTOR.serialized_pb)
        pool.AddSerializedFile(self.file.SerializeToString())
        return pool

    def signature(self, node: Node) -> Any:
        """The CEL type of a variable that holds such a value."""
        if node.items is not None and node.type == "array":
            return cel.Type.List(self.signature(node.items))
        if node.additional is not None and not node.properties:
            return cel.Type.Map(cel.Type.STRING, self.signature(node.additional))
        if node.properties and node.type == "object":
            return cel.Type(self.message(node))
        if node.type in _SCALARS and not node.nullable:
            return cel.Type(_format_type(node) or _SCALARS[node.type][1])
        return cel.Type.DYN

    def message(self, node: Node) -> str:
        known = self._names.get(id(node))
        if known is not None:
            return known
        name = f"T{len(self._names)}"
        self._names[id(node)] = f"{_PACKAGE}.{name}"
        fields = [(escaped(key), child) for key, child in node.properties.items()]
        built = [(key, self.field(child)) for key, child in fields if key.isidentifier() and key.isascii()]
        message = self.file.message_type.add(name=name)
        for number, (key, (type_, label, type_name)) in enumerate(built, start=1):
            added = message.field.add(name=key, number=number, type=type_, label=label)
            if type_name.startswith("{}"):
                self._map_entry(message, added, type_name[2:])
            elif type_name:
                added.type_name = f".{type_name}"
        return self._names[id(node)]

    def field(self, node: Node) -> tuple[Any, Any, str]:
        """Type, label and type name of a field; a map's type name is {} and that of its values."""
        single, many = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED
        if node.type == "array" and node.items is not None:
            type_, label, name = self.field(node.items)
            if label == many or node.nullable:
                return _Field.TYPE_MESSAGE, single, _DYNAMIC
            return type_, many, name
        if node.type == "object" and node.properties:
            return _Field.TYPE_MESSAGE, single, self.message(node)
        if node.type == "object" and node.additional is not None:
            type_, label, name = self.field(node.additional)
            if label == many:
                return _Field.TYPE_MESSAGE, single, _DYNAMIC
            return type_, many, "{}" + name
        if node.type in _SCALARS:
            formatted = _format_type(node)
            if formatted:
                return _Field.TYPE_MESSAGE, single, formatted
            if node.nullable:
                return _Field.TYPE_MESSAGE, single, _SCALARS[node.type][2]
            return _SCALARS[node.type][0], single, ""
        return _Field.TYPE_MESSAGE, single, _DYNAMIC

    @staticmethod
    def _map_entry(message: Any, added: Any, value_type: str) -> None:
        entry_name = re.sub(r"_+([^_]?)", lambda m: m[1].upper(), f"_{added.name}") + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
        value = entry.field.add(name="value", number=2, type=added.type, label=_Field.LABEL_OPTIONAL)
        if value_type:
            value.type_name = f".{value_type}"
        added.type = _Field.TYPE_MESSAGE
        added.type_name = f".{_PACKAGE}.{message.name}.{entry_name}"


def _format_type(node: Node) -> str:
    if node.type != "string":
        return ""
    return {
        "date-time": "google.protobuf.Timestamp",
        "datetime": "google.protobuf.Timestamp",
        "date": "google.protobuf.Timestamp",
    }.get(node.raw.get("format") or "", "")


def check(rule: str, node: Node, want: str) -> str:
    """Why an expression does not compile for values of this schema, or nothing."""
    messages = _Messages()
    self_type = messages.signature(node)
    try:
        environment = cel.NewEnv(
            descriptor_pool=messages.pool(),
            variables={"self": self_type, "oldSelf": self_type, "previous": cel.Type.List(self_type)},
            extensions=cel_library.extensions(),
            functions=cel_library.functions(),
        )
        result = environment.compile(rule).return_type()
    except RuntimeError as error:
        text = str(error).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
        return re.sub(r" not found in struct '[^']*'", "", text)
    return "" if result.name().lower() in (want, "dyn") else WRONG_TYPE
