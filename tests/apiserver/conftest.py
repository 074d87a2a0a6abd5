"""A server on a loopback socket, and clients for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.apiserver.api import Api, widget_definition
from tests.fakes.cluster import RunningServer, running_server

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """Without the custom kinds of KubeVirt, which take most of the start."""
    async with running_server(tmp_path, crds=False) as running:
        yield running


@pytest.fixture
async def api(server: RunningServer) -> AsyncIterator[Api]:
    """The admin."""
    async with server.session() as session:
        yield Api(session)


@pytest.fixture
async def widgets(api: Api) -> Api:
    """The admin of a server that knows widgets.example.com."""
    answer = await api.post(DEFINITIONS, widget_definition())
    assert answer.code == 201, answer.body
    return api
