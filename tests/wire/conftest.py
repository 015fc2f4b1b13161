"""The servers that the wires are tested against."""

import aimock as model_server
import pytest


@pytest.fixture(scope="session")
def aimock_server(tmp_path_factory):
    if reason := model_server.missing():
        pytest.skip(reason)
    with model_server.running(tmp_path_factory.mktemp("aimock")) as server:
        yield server


@pytest.fixture
def aimock(aimock_server):
    yield aimock_server
    aimock_server.ask("/__aimock/chaos", "DELETE")
