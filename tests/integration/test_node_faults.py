"""Nodes whose network is cut, whose process is killed, that are started twice, that lose their parent
or are told to stop in the middle of something.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from holdfast.errors import HoldfastError
from holdfast.grid.settings import EncodingSettings
from holdfast.node.control.calls import download, upload
from holdfast.node.running import process_of, running_node
from holdfast.testing.node_processes import NodeProcess, NodeProcesses, Status, server_of, state_of
from holdfast.testing.tcp_proxy import TcpProxy

STOP_S = 8.0  # five on a machine that does nothing else
ONE_OF_THREE = EncodingSettings(shares_needed=1, happiness=1, shares_total=3)
TWO_OF_FOUR = EncodingSettings(shares_needed=2, happiness=3, shares_total=4)
SIZE = 20_000_000


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcesses]:
    with NodeProcesses(tmp_path_factory.mktemp("faults")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def introducer(nodes: NodeProcesses) -> NodeProcess:
    introducer = nodes.introducer()
    introducer.start()
    return introducer


@pytest.fixture(scope="module")
def network() -> Iterator[TcpProxy]:
    """What lies between all clients and the server "far"."""
    with TcpProxy() as network:
        yield network


@pytest.fixture(scope="module")
def client(nodes: NodeProcesses, introducer: NodeProcess, network: TcpProxy) -> NodeProcess:
    """A client of the servers amber, basil, cedar and far."""
    servers = [nodes.server(name, [introducer]) for name in ("amber", "basil", "cedar")]
    servers.append(nodes.server("far", [introducer], location=[network.location]))
    client = nodes.client("client", [introducer], TWO_OF_FOUR)
    nodes.start(*servers, client)
    network.target = servers[-1].port
    client.wait_for(lambda status: [server["state"] for server in status["servers"]] == ["up"] * 4)
    return client


@pytest.fixture(autouse=True)
def healed(network: TcpProxy) -> Iterator[None]:
    yield
    network.heal()


def put(node: NodeProcess, data: bytes) -> Status:
    return upload(node.client(), data, random_key=True)


def get(node: NodeProcess, uri: str) -> bytes:
    received = io.BytesIO()
    download(node.client(), uri, received)
    return received.getvalue()


def in_background(action: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        with suppress(HoldfastError):  # the node may be stopped meanwhile
            action()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


# -- the network


def test_transfers_fail_over_when_the_way_to_a_server_is_cut_and_it_is_used_again_once_healed(
    client: NodeProcess, network: TcpProxy
) -> None:
    data = os.urandom(200_000)
    before = put(client, data)
    assert before["happiness"] == 4
    cut_at = time.time()
    network.cut()
    assert get(client, before["uri"]) == data
    during = put(client, data)
    assert during["happiness"] == 3
    assert get(client, during["uri"]) == data
    status = client.wait_for(lambda status: state_of(status, "far") == "down")
    far = server_of(status, "far")
    assert "cannot be reached" in far["reason"] or "broke" in far["reason"]
    assert cut_at - 1 <= far["since"] <= time.time()
    network.heal()
    healed_at = time.time()
    status = client.wait_for(lambda status: state_of(status, "far") == "up")
    far = server_of(status, "far")
    assert far["reason"] == "answers"
    assert far["since"] >= healed_at
    assert put(client, data)["happiness"] == 4


@pytest.mark.parametrize("fault", ["cut", "black_hole", "stall"])
def test_a_transfer_under_way_survives_the_loss_of_a_server(
    client: NodeProcess, network: TcpProxy, fault: str
) -> None:
    """The fault comes when the server has taken a part of its share, or given one."""
    client.wait_for(lambda status: state_of(status, "far") == "up")
    data = os.urandom(SIZE)
    came = network.bytes_in
    answers: list[Status] = []
    uploading = in_background(lambda: answers.append(put(client, data)))
    while network.bytes_in - came < SIZE / 10:
        assert uploading.is_alive(), "the upload was too fast for this test"
        time.sleep(0.001)
    getattr(network, fault)()
    uploading.join(60)
    assert answers
    assert answers[0]["happiness"] == 3
    assert get(client, answers[0]["uri"]) == data
    network.heal()


# -- two processes, and one that was killed


def test_the_second_process_of_a_directory_refuses_and_names_the_first(client: NodeProcess) -> None:
    second = NodeProcess(client.directory)
    second.output_file = client.directory.with_name("second.output")
    second.launch()
    try:
        assert second.wait_until_ended() == 1
    finally:
        second.end()
    assert second.output == f"{client.directory} is in use by process {client.pid}; stop that first"
    assert client.status()["pid"] == client.pid


def test_a_killed_node_starts_again_at_once_over_what_it_left(
    nodes: NodeProcesses, client: NodeProcess
) -> None:
    for node in (client, nodes["amber"]):
        port = node.directory / "port"
        before = port.read_text() if port.exists() else None
        node.kill()
        assert (node.private / "control.sock").exists()
        assert (node.directory / "running.json").exists()
        assert (node.directory / "lock").read_text().strip() == str(node.pid)
        assert process_of(node.directory) is None
        assert running_node(node.directory) is None
        began = time.monotonic()
        node.start()
        assert time.monotonic() - began < 15
        assert node.status()["pid"] == node.pid
        assert before == (port.read_text() if port.exists() else None)
    client.wait_for(lambda status: state_of(status, "amber") == "up")


# -- the end of a node


def test_a_node_ends_when_its_parent_does(nodes: NodeProcesses) -> None:
    node = nodes.introducer("child")
    node.start()
    node.close_input()
    assert node.wait_until_ended() == 0
    assert not (node.directory / "running.json").exists()


def test_a_node_goes_on_without_its_parent_if_told_so_or_if_it_never_had_one(nodes: NodeProcesses) -> None:
    told, never = nodes.introducer("orphan"), nodes.introducer("foundling")
    told.launch("--allow-stdin-close")
    never.launch(stdin=subprocess.DEVNULL)
    for node in (told, never):
        node.wait_until_serving()
    told.close_input()
    time.sleep(1)
    for node in (told, never):
        assert node.status()["pid"] == node.pid
        node.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nodes_stop_in_order_while_transfers_and_long_polls_run(
    nodes: NodeProcesses,
    introducer: NodeProcess,
    client: NodeProcess,
    network: TcpProxy,
    number: signal.Signals,
) -> None:
    client.wait_for(lambda status: [server["state"] for server in status["servers"]] == ["up"] * 4)
    data = os.urandom(SIZE)
    uri = put(client, data)["uri"]
    network.stall()  # so that a transfer is under way for as long as it takes
    transfers = [
        in_background(lambda: put(client, data)),
        in_background(lambda: get(client, uri)),
        in_background(lambda: client.call("GET", "connections/wait?n=9&timeout=50")),
    ]
    client.wait_for(lambda status: status["transfers"])
    introducer.wait_for(lambda status: status["introducer"]["waiting_polls"] >= 1)
    stopped = (nodes["basil"], nodes["far"], introducer, client)
    for node in stopped:
        assert node.stop(number) < STOP_S
        assert not (node.directory / "running.json").exists()
        assert not (node.private / "control.sock").exists()
        assert '"stopped"' in node.log
        assert "Traceback" not in node.log + node.output
    for transfer in transfers:
        transfer.join(30)
        assert not transfer.is_alive()
    network.heal()
    nodes.start(*stopped)


def test_a_node_stops_when_its_control_interface_is_told_so(
    nodes: NodeProcesses, client: NodeProcess
) -> None:
    assert client.call("POST", "stop") == {"stopping": True}
    assert client.wait_until_ended() == 0
    assert "told to stop" in client.log
    client.start()
