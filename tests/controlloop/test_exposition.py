"""The text format, and what a scraper reads in it."""

from __future__ import annotations

import math

import pytest

from kvtui.client.kubeconfig import Endpoint
from kvtui.client.rest import Client
from kvtui.controlloop.clientmetrics import count_requests, shape
from kvtui.controlloop.controller import Controller
from kvtui.controlloop.exposition import Metrics, gauge, label_name, text
from kvtui.controlloop.queuemetrics import queue_families
from kvtui.errors import Unreachable
from tests.fakes.scraper import scrape

NUMBERS = {1e15: "1000000000000000", 0.1: "0.1", math.inf: "+Inf", -math.inf: "-Inf", math.nan: "NaN", 1e-9: "1e-09"}


def test_the_text_format() -> None:
    metrics = Metrics()
    counter = metrics.counter("hits_total", "Hits.")
    counter.add(namespace="a")
    counter.add(2, namespace="a")
    histogram = metrics.histogram("seconds", "Time.", (1.0, 5.0))
    for value in (0.5, 1.0, 3.0, 9.0):
        histogram.observe(value, phase="Running")
    metrics.collect(lambda: [gauge("odd", 'A "quoted"\nline.', [({"name": 'a"b\\c\nd', "none": ""}, 0.5)])])
    metrics.collect(lambda: [gauge("nothing", "Without samples.", [])])
    assert metrics.text() == (
        "# HELP hits_total Hits.\n"
        "# TYPE hits_total counter\n"
        'hits_total{namespace="a"} 3\n'
        "# HELP seconds Time.\n"
        "# TYPE seconds histogram\n"
        'seconds_bucket{phase="Running",le="1"} 2\n'
        'seconds_bucket{phase="Running",le="5"} 3\n'
        'seconds_bucket{phase="Running",le="+Inf"} 4\n'
        'seconds_sum{phase="Running"} 13.5\n'
        'seconds_count{phase="Running"} 4\n'
        '# HELP odd A "quoted"\\nline.\n'
        "# TYPE odd gauge\n"
        'odd{name="a\\"b\\\\c\\nd"} 0.5\n'
    )
    assert scrape(metrics.text())["odd"] == [({"name": 'a"b\\c\nd'}, 0.5)]


@pytest.mark.parametrize(
    "hostile", ['"} 1\nevil{a="', "\\", "\\n", "a\nb", '\\"', "\u2028", "Zoë 🖥", "\ud800", "{}", "#"]
)
def test_no_value_of_a_label_gets_out_of_its_quotes(hostile: str) -> None:
    found = scrape([gauge("safe", hostile, [({"value": hostile}, 1), ({"other": "x"}, 2)])])
    assert list(found.samples) == ["safe"]
    assert found["safe"][0] == ({"value": hostile.encode("utf-8", "replace").decode()}, 1)


@pytest.mark.parametrize(("value", "said"), NUMBERS.items())
def test_numbers_are_as_go_reads_them(value: float, said: str) -> None:
    assert text([gauge("n", "N.", [({}, value)])]).splitlines()[-1] == f"n {said}"


def test_names_of_labels_keep_to_the_letters_that_prometheus_takes() -> None:
    assert label_name("app.kubernetes.io/part-of", "label_") == "label_app_kubernetes_io_part_of"
    assert label_name("9lives") == "_9lives"


async def test_what_passes_through_a_queue_is_counted() -> None:
    async def reconcile(key: str) -> None: ...

    controller: Controller[str] = Controller("vm", reconcile)
    queue = controller.queue
    for key in ("a", "b", "a"):
        queue.add(key)
    key = await queue.get()
    found = scrape(queue_families([controller]))
    assert found.one("kubevirt_workqueue_adds_total", name="vm") == 2
    assert found.one("kubevirt_workqueue_depth", name="vm") == 1
    assert found.one("kubevirt_workqueue_longest_running_processor_seconds", name="vm") > 0
    queue.add_failed(key)
    queue.done(key)
    found = scrape(queue_families([controller]))
    assert found.one("kubevirt_workqueue_retries_total", name="vm") == 1
    assert found.one("kubevirt_workqueue_unfinished_work_seconds", name="vm") == 0
    for what in ("queue", "work"):
        assert found.one(f"kubevirt_workqueue_{what}_duration_seconds_count", name="vm") == 1
    queue.close()


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("GET", "/api/v1/nodes", ("LIST", "nodes", "/api/v1/nodes")),
        ("GET", "/api/v1/nodes/a", ("GET", "nodes", "/api/v1/nodes/{name}")),
        ("GET", "/api/v1/namespaces/a", ("GET", "namespaces", "/api/v1/namespaces/{name}")),
        (
            "PATCH",
            "/apis/kubevirt.io/v1/namespaces/a/virtualmachines/b/status",
            (
                "PATCH",
                "virtualmachines/status",
                "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachines/{name}/status",
            ),
        ),
        ("POST", "/api/v1/namespaces/a/pods", ("CREATE", "pods", "/api/v1/namespaces/{namespace}/pods")),
        ("GET", "/version", ("GET", "none", "/version")),
        ("GET", "/apis", ("GET", "none", "/apis")),
    ],
)
def test_requests_are_counted_by_what_they_are_about(method: str, path: str, told: tuple[str, str, str]) -> None:
    assert shape(method, path) == told


async def test_requests_are_counted_with_their_outcome() -> None:
    metrics = Metrics()
    async with Client(Endpoint("http://127.0.0.1:1")) as client:
        count_requests(client, metrics)
        with pytest.raises(Unreachable):
            await client.raw("GET", "/api/v1/nodes")
    found = scrape(metrics.text())
    assert found.one("kubevirt_rest_client_requests_total", code="<error>", verb="LIST", host="127.0.0.1:1") == 1
    assert found.one("kubevirt_rest_client_request_latency_seconds_count", url="/api/v1/nodes") == 1
