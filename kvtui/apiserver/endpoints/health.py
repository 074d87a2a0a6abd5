"""Health and metrics.

Source: https://kubernetes.io/docs/reference/using-api/health-checks/, https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from aiohttp import web

from kvtui.apiserver import options
from kvtui.apiserver.http import BASE_HEADERS, Call

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


class Metrics:
    """What the server counts about itself."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, str, str, int]] = Counter()
        self._seconds: dict[tuple[str, str], list[float]] = {}
        self._buckets: dict[tuple[str, str], list[int]] = {}
        self.longest_block = 0.0
        """Seconds between two looks of the event loop at what has happened, at worst."""
        self.longest_work = 0.0
        """Seconds of processor time in one turn of the event loop, at worst."""

    def observe(self, verb: str, group: str, resource: str, subresource: str, code: int, seconds: float) -> None:
        self._requests[verb, group, resource, subresource, code] += 1
        if verb in ("watch", "connect"):
            return
        key = (verb, resource)
        total = self._seconds.setdefault(key, [0.0, 0.0])
        total[0] += seconds
        total[1] += 1
        counts = self._buckets.setdefault(key, [0] * len(_BUCKETS))
        for index, bound in enumerate(_BUCKETS):
            if seconds <= bound:
                counts[index] += 1

    def text(self, gauges: Mapping[str, float]) -> str:
        lines = ["# TYPE apiserver_request_total counter"]
        for (verb, group, resource, subresource, code), count in sorted(self._requests.items()):
            labels = (
                f'verb="{verb.upper()}",group="{group}",resource="{resource}",subresource="{subresource}",code="{code}"'
            )
            lines.append(f"apiserver_request_total{{{labels}}} {count}")
        lines.append("# TYPE apiserver_request_duration_seconds histogram")
        for key, counts in sorted(self._buckets.items()):
            labels = f'verb="{key[0].upper()}",resource="{key[1]}"'
            total, number = self._seconds[key]
            lines += [
                f'apiserver_request_duration_seconds_bucket{{{labels},le="{bound}"}} {count}'
                for bound, count in zip(_BUCKETS, counts, strict=True)
            ]
            lines.append(f'apiserver_request_duration_seconds_bucket{{{labels},le="+Inf"}} {int(number)}')
            lines.append(f"apiserver_request_duration_seconds_sum{{{labels}}} {total}")
            lines.append(f"apiserver_request_duration_seconds_count{{{labels}}} {int(number)}")
        loop = {
            "kvtui_event_loop_longest_block_seconds": self.longest_block,
            "kvtui_event_loop_longest_work_seconds": self.longest_work,
        }
        for name, value in {**gauges, **loop}.items():
            family = name.partition("{")[0]
            if f"# TYPE {family} gauge" not in lines:
                lines.append(f"# TYPE {family} gauge")
            lines.append(f"{name} {value}")
        return "\n".join(lines) + "\n"
