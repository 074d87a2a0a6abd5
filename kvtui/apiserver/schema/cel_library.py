"""The functions that Kubernetes adds to CEL: lists, regular expressions, URLs, quantities, addresses, versions.

A quantity, URL, address or version is a map with one key that names its sort: equal if their canonical forms are.

Source: https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import re2
from cel_expr_python import cel
from cel_expr_python.ext.ext_bindings import ExtBindings
from cel_expr_python.ext.ext_math import ExtMath
from cel_expr_python.ext.ext_optional import ExtOptional
from cel_expr_python.ext.ext_strings import ExtStrings

from kvtui.api.quantity import parse
from kvtui.apiserver.schema.formats import FORMATS
from kvtui.errors import InvalidQuantity

_T = cel.Type
_LIST = _T.List(_T.DYN)
_BOX = _T.Map(_T.STRING, _T.DYN)
_QUERY = _T.Map(_T.STRING, _T.List(_T.STRING))
_PATH_SAFE = "/%:@!$&'()*+,;=~"
Box = dict[str, Any]

_SEMVER = re.compile(
    r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?$",
    re.ASCII,
)


def extensions() -> list[Any]:
    """The libraries that CEL itself offers and Kubernetes has too."""
    return [ExtStrings(), ExtOptional(), ExtMath(), ExtBindings()]


def functions() -> list[Any]:
    """Declarations with their implementations, for an environment."""
    return [
        _member("isSorted", _T.BOOL, [_LIST], _sorted),
        _member("sum", _T.DYN, [_LIST], sum),
        _member("min", _T.DYN, [_LIST], min),
        _member("max", _T.DYN, [_LIST], max),
        _member("find", _T.STRING, [_T.STRING, _T.STRING], _find),
        cel.FunctionDecl(
            "findAll",
            [
                _overload("findAll_all", _T.List(_T.STRING), [_T.STRING, _T.STRING], _find_all),
                _overload("findAll_some", _T.List(_T.STRING), [_T.STRING, _T.STRING, _T.INT], _find_all),
            ],
        ),
        *_quantities(),
        *_urls(),
        *_addresses(),
        *_versions(),
        _global("jsonpatch.escapeKey", _T.STRING, [_T.STRING], _escape_key),
    ]


def _escape_key(text: str) -> str:
    """A name as a step of a JSON pointer."""
    return text.replace("~", "~0").replace("/", "~1")


def _sorted(items: list[Any]) -> bool:
    return all(a <= b for a, b in pairwise(items))


def _overload(
    id_: str, result: Any, parameters: Sequence[Any], impl: Callable[..., Any], *, member: bool = True
) -> Any:
    return cel.Overload(id=id_, return_type=result, parameters=list(parameters), is_member=member, impl=impl)


def _member(name: str, result: Any, parameters: Sequence[Any], impl: Callable[..., Any]) -> Any:
    return cel.FunctionDecl(name, [_overload(f"k8s_{name}", result, parameters, impl)])


def _global(name: str, result: Any, parameters: Sequence[Any], impl: Callable[..., Any]) -> Any:
    return cel.FunctionDecl(name, [_overload(f"k8s_{name}", result, parameters, impl, member=False)])


def _find(text: str, pattern: str) -> str:
    match = re2.search(pattern, text)
    return match[0] if match else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in re2.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]


def _try(make: Callable[..., Any]) -> Callable[..., bool]:
    def possible(*arguments: Any) -> bool:
        try:
            make(*arguments)
        except (ValueError, InvalidQuantity):
            return False
        return True

    return possible


def _quantity(text: str) -> Box:
    return {"quantity": str(parse(text).normalize())}


def _number(box: Box | int) -> Decimal:
    return Decimal(box["quantity"]) if isinstance(box, dict) else Decimal(box)


def _key(box: Box) -> Any:
    """What two values of one sort are compared by."""
    return _number(box) if "quantity" in box else _precedence(box["semver"])


def _quantities() -> list[Any]:
    return [
        _global("quantity", _BOX, [_T.STRING], _quantity),
        _global("isQuantity", _T.BOOL, [_T.STRING], _try(_quantity)),
        _member("isGreaterThan", _T.BOOL, [_BOX, _BOX], lambda a, b: _key(a) > _key(b)),
        _member("isLessThan", _T.BOOL, [_BOX, _BOX], lambda a, b: _key(a) < _key(b)),
        _member("compareTo", _T.INT, [_BOX, _BOX], lambda a, b: (_key(a) > _key(b)) - (_key(a) < _key(b))),
        _member("sign", _T.INT, [_BOX], lambda q: (_number(q) > 0) - (_number(q) < 0)),
        _member("isInteger", _T.BOOL, [_BOX], lambda q: _number(q) == int(_number(q))),
        _member("asInteger", _T.INT, [_BOX], lambda q: int(_number(q))),
        _member("asApproximateFloat", _T.DOUBLE, [_BOX], lambda q: float(_number(q))),
        _arithmetic("add", lambda a, b: a + b),
        _arithmetic("sub", lambda a, b: a - b),
    ]


def _arithmetic(name: str, operate: Callable[[Decimal, Decimal], Decimal]) -> Any:
    def impl(left: Box, right: Box | int) -> Box:
        return {"quantity": str(operate(_number(left), _number(right)).normalize())}

    return cel.FunctionDecl(
        name,
        [_overload(f"{name}_quantity", _BOX, [_BOX, _BOX], impl), _overload(f"{name}_int", _BOX, [_BOX, _T.INT], impl)],
    )


def _url(text: str) -> Box:
    parsed = urllib.parse.urlsplit(text)
    if not (parsed.scheme or text.startswith("/")) or re.search(r"[\x00-\x20\x7f]", text):
        raise ValueError("not a URL")
    return {"url": text}


def _urls() -> list[Any]:
    def split(box: Box) -> urllib.parse.SplitResult:
        return urllib.parse.urlsplit(str(box["url"]))

    return [
        _global("url", _BOX, [_T.STRING], _url),
        _global("isURL", _T.BOOL, [_T.STRING], _try(_url)),
        _member("getScheme", _T.STRING, [_BOX], lambda u: split(u).scheme),
        _member("getHost", _T.STRING, [_BOX], lambda u: split(u).netloc.rpartition("@")[2]),
        _member("getHostname", _T.STRING, [_BOX], lambda u: split(u).hostname or ""),
        _member("getPort", _T.STRING, [_BOX], lambda u: str(split(u).port or "")),
        _member(
            "getEscapedPath", _T.STRING, [_BOX], lambda u: urllib.parse.quote(split(u).path, safe="/%:@!$&'()*+,;=~")
        ),
        _member(
            "getQuery", _T.Map(_T.STRING, _T.List(_T.STRING)), [_BOX], lambda u: urllib.parse.parse_qs(split(u).query)
        ),
    ]


def _ip(text: str) -> Box:
    if "%" in text:
        raise ValueError("IP addresses with zones are not allowed")
    return {"ip": str(ipaddress.ip_address(text))}


def _cidr(text: str) -> Box:
    if "/" not in text:
        raise ValueError("not a CIDR")
    return {"cidr": str(ipaddress.ip_interface(text))}


def _addresses() -> list[Any]:
    def address(box: Box) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        return ipaddress.ip_address(str(box["ip"]))

    def link_local_multicast(box: Box) -> bool:
        one = address(box)
        return one.is_multicast and (str(one).startswith("224.0.0.") or (one.version == 6 and str(one)[:4] == "ff02"))

    def network(box: Box | str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        text = box if isinstance(box, str) else str(box["cidr"])
        return ipaddress.ip_interface(text).network

    def contains_ip(box: Box, other: Box | str) -> bool:
        text = other if isinstance(other, str) else str(other["ip"])
        return ipaddress.ip_address(text) in network(box)

    def contains_cidr(box: Box, other: Box | str) -> bool:
        inner, outer = network(other), network(box)
        return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]

    def either(name: str, impl: Callable[..., bool]) -> Any:
        return cel.FunctionDecl(
            name,
            [
                _overload(f"{name}_box", _T.BOOL, [_BOX, _BOX], impl),
                _overload(f"{name}_string", _T.BOOL, [_BOX, _T.STRING], impl),
            ],
        )

    return [
        cel.FunctionDecl(
            "ip",
            [
                _overload("ip_of_string", _BOX, [_T.STRING], _ip, member=False),
                _overload("ip_of_cidr", _BOX, [_BOX], lambda c: {"ip": str(ipaddress.ip_interface(c["cidr"]).ip)}),
            ],
        ),
        _global("isIP", _T.BOOL, [_T.STRING], _try(_ip)),
        _global("cidr", _BOX, [_T.STRING], _cidr),
        _global("isCIDR", _T.BOOL, [_T.STRING], _try(_cidr)),
        _member("family", _T.INT, [_BOX], lambda a: address(a).version),
        _member("isUnspecified", _T.BOOL, [_BOX], lambda a: address(a).is_unspecified),
        _member("isLoopback", _T.BOOL, [_BOX], lambda a: address(a).is_loopback),
        _member(
            "isLinkLocalMulticast", _T.BOOL, [_BOX], lambda a: address(a).is_multicast and address(a).is_link_local
        ),
        _member("isLinkLocalUnicast", _T.BOOL, [_BOX], lambda a: address(a).is_link_local),
        _member("isGlobalUnicast", _T.BOOL, [_BOX], lambda a: not (address(a).is_multicast or address(a).is_loopback)),
        either("containsIP", contains_ip),
        either("containsCIDR", contains_cidr),
        _member("masked", _BOX, [_BOX], lambda c: {"cidr": str(network(c))}),
        _member("prefixLength", _T.INT, [_BOX], lambda c: network(c).prefixlen),
    ]


def _semver(text: str, lenient: bool = False) -> Box:
    if lenient:
        text = text.removeprefix("v")
        text += ".0" * max(0, 2 - text.split("-")[0].split("+")[0].count("."))
    if not _SEMVER.match(text):
        raise ValueError("not a semantic version")
    return {"semver": text}


def _precedence(text: str) -> Any:
    match = _SEMVER.match(text)
    assert match is not None
    before = match[4]
    parts = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in before.split(".")] if before else []
    return int(match[1]), int(match[2]), int(match[3]), before is None, parts


def _versions() -> list[Any]:
    def two(name: str, result: Any, impl: Callable[..., Any]) -> Any:
        return cel.FunctionDecl(
            name,
            [
                _overload(f"{name}_strict", result, [_T.STRING], impl, member=False),
                _overload(f"{name}_lenient", result, [_T.STRING, _T.BOOL], impl, member=False),
            ],
        )

    return [
        two("semver", _BOX, _semver),
        two("isSemver", _T.BOOL, _try(_semver)),
        _member("major", _T.INT, [_BOX], lambda v: _precedence(v["semver"])[0]),
        _member("minor", _T.INT, [_BOX], lambda v: _precedence(v["semver"])[1]),
        _member("patch", _T.INT, [_BOX], lambda v: _precedence(v["semver"])[2]),
        _global("isFormat", _T.BOOL, [_T.STRING, _T.STRING], lambda name, text: FORMATS[name](text)),
    ]
