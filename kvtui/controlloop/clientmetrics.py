"""What this process asks of the API server, under upstream's names.

Source: k8s.io/client-go/tools/metrics; kubevirt pkg/monitoring/metrics/common/client
"""

from __future__ import annotations

from kvtui.client.rest import Client
from kvtui.controlloop.exposition import Metrics

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_VERBS = {"GET": "GET", "POST": "CREATE", "PUT": "UPDATE", "PATCH": "PATCH", "DELETE": "DELETE"}


def shape(method: str, path: str) -> tuple[str, str, str]:
    """Verb, resource and path of a request, with words in braces for whatever differs from object to object."""
    words = path.strip("/").split("/")
    head = 2 if words[0] == "api" else 3
    if words[0] not in ("api", "apis") or len(words) <= head:
        return _VERBS.get(method, method), "none", "/" + words[0]
    rest = words[head:]
    known = words[:head]
    if rest[0] == "namespaces" and len(rest) > 2:
        known, rest = [*known, "namespaces", "{namespace}"], rest[2:]
    resource, named = rest[0], len(rest) > 1
    known += [resource, *(["{name}"] if named else []), *rest[2:3]]
    verb = "LIST" if method == "GET" and not named else _VERBS.get(method, method)
    return verb, "/".join([resource, *rest[2:3]]), "/" + "/".join(known)


def count_requests(client: Client, metrics: Metrics) -> None:
    """Counts the client's requests from now on."""
    requests = metrics.counter("kubevirt_rest_client_requests_total", "Requests to the API server.")
    latency = metrics.histogram(
        "kubevirt_rest_client_request_latency_seconds", "Time until an answer of the API server began.", BOUNDS
    )
    host = client.endpoint.server.partition("//")[2]

    def answered(method: str, path: str, code: str, seconds: float) -> None:
        verb, resource, url = shape(method, path)
        requests.add(code=code, host=host, method=method, resource=resource, verb=verb)
        latency.observe(seconds, verb=verb, url=url)

    client.answered = answered
