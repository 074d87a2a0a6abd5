"""Health and metrics.

Source: https://kubernetes.io/docs/reference/using-api/health-checks/, https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain

from aiohttp import web

from kvtui.apiserver import options
from kvtui.apiserver.http import BASE_HEADERS, Call
from kvtui.apiserver.router import Target
from kvtui.controlloop.exposition import Counter, Family, Histogram, gauge, text

Check = Callable[[], bool]
_TEXT = {**BASE_HEADERS, "Content-Type": "text/plain; charset=utf-8"}


def health(call: Call, checks: Mapping[str, Check]) -> web.Response:
    """GET /healthz, /livez, /readyz and single checks below them."""
    kind, *single = call.target.segments
    if single and single[0] not in checks:
        return web.Response(text="404 page not found\n", status=404, headers=_TEXT)
    excluded = call.query.get("exclude", "")
    chosen = {n: c for n, c in checks.items() if n != excluded and (not single or n == single[0])}
    failed = [name for name, check in chosen.items() if not check()]
    if not failed and not options.is_true(call.query, "verbose"):
        return web.Response(text="ok", headers=_TEXT)
    lines = [f"[-]{n} failed: reason withheld" if n in failed else f"[+]{n} ok" for n in chosen]
    lines.append(f"{kind} check {'failed' if failed else 'passed'}")
    return web.Response(text="\n".join(lines) + "\n", status=500 if failed else 200, headers=_TEXT)


_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "head", "post", "put")
_STREAMED = ("watch", "connect")


class Metrics:
    """What the server counts about itself."""

    def __init__(self, known: Callable[[Target], bool] = lambda target: True) -> None:
        """`known`: whether there is such a resource. Anybody may ask for others, under any name, as often as wanted."""
        self._known = known
        self._requests = Counter("apiserver_request_total", "Requests that were answered.")
        self._seconds = Histogram("apiserver_request_duration_seconds", "How long answers took.", _BUCKETS)
        self.longest_block = 0.0
        """Seconds between two looks of the event loop at what has happened, at worst."""
        self.longest_work = 0.0
        """Seconds of processor time in one turn of the event loop, at worst."""

    def observe(self, target: Target, code: int, seconds: float) -> None:
        group, resource, subresource = target.group, target.resource, target.full_subresource
        if resource and not self._known(target):
            group, resource, subresource = "", "unknown", ""
        verb = target.verb if target.verb in _VERBS else "other"
        self._requests.add(verb=verb.upper(), group=group, resource=resource, subresource=subresource, code=str(code))
        if verb not in _STREAMED:
            self._seconds.observe(seconds, verb=verb.upper(), resource=resource)

    def text(self, gauges: Iterable[Family]) -> str:
        """`gauges` are those of the server's rooms."""
        loop = {
            "kvtui_event_loop_longest_block_seconds": ("Longest time without a look at events.", self.longest_block),
            "kvtui_event_loop_longest_work_seconds": ("Longest turn, in processor time.", self.longest_work),
        }
        own = (gauge(name, help_, [({}, value)]) for name, (help_, value) in loop.items())
        return text(chain(self._requests.families(), self._seconds.families(), gauges, own))
