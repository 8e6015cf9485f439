"""The tools of agents, called by the protocol's own client: at `/mcp` over HTTP, and over standard input and output."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import Databases, make_key, serving
from tests.submissions.samples import sample

mcp = pytest.importorskip("mcp", reason="needs the extra mcp")

pytestmark = pytest.mark.slow_on("postgresql")

TOOLS = {"estimate", "plan", "levers", "find_measurements", "find_models", "find_accelerators", "submit_measurement"}
RUN: dict[str, Any] = {"model": {"name": "resnet-50"}, "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8}}


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[tuple[str, str, str]]:
    """The URLs of a service with tools and of its database, and a key that may submit."""
    database = databases.seeded()
    with serving(create_app(Settings(database_url=database, mcp=True))) as url:
        yield url, database, make_key(database, "agents", "submit")


def client(url: str, key: str | None = None) -> Any:
    """A client of the service's tools."""
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    headers = {"authorization": f"Bearer {key}"} if key else None
    return mcp.Client(streamable_http_client(f"{url}/mcp", http_client=create_mcp_http_client(headers=headers)))


async def called(client: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    """The tool's answer; it must be no error."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content[0].text
    answer: dict[str, Any] = json.loads(result.content[0].text)
    return answer


@pytest.mark.anyio
async def test_agents_estimate_and_find_at_the_service(served: tuple[str, str, str]) -> None:
    async with client(served[0]) as agent:
        assert {tool.name for tool in (await agent.list_tools()).tools} == TOOLS
        answer = await called(agent, "estimate", **RUN, data={"name": "imagenet-1k", "epochs": 90})
        assert answer["duration_hours"]["p10"] < answer["duration_hours"]["p50"] < answer["duration_hours"]["p90"]
        some = await called(agent, "estimate", **RUN, fields=["mfu", "throughput.samples_per_second"])
        assert {name: set(member) for name, member in some.items()} == {
            "mfu": {"p10", "p50", "p90"},
            "throughput": {"samples_per_second"},
        }
        found = await called(
            agent, "find_measurements", where={"model.name.contains": "resnet", "hardware.count": 8}, limit=3
        )
        assert len(found["items"]) == 3
        assert {item["hardware"]["count"] for item in found["items"]} == {8}
        assert (await called(agent, "find_accelerators", query="H100"))["items"][0]["slug"].startswith("H100")
        assert (await called(agent, "find_models", query="llama-3-8b"))["items"][0]["name"] == "llama-3-8b"


@pytest.mark.anyio
async def test_what_is_wrong_is_told_so_that_an_agent_can_mend_it(served: tuple[str, str, str]) -> None:
    async with client(served[0]) as agent:
        unknown = await agent.call_tool("estimate", RUN | {"hardware": {"accelerator": "H1000"}})
        assert unknown.is_error
        assert "hardware.accelerator" in unknown.content[0].text
        assert "H100" in unknown.content[0].text
        misspelt = await agent.call_tool("estimate", RUN | {"training": {"precison": "fp16"}})
        assert misspelt.is_error
        assert "precison" in misspelt.content[0].text
        unheard = await agent.call_tool("estimate", RUN | {"dataset": "imagenet-1k"})
        assert unheard.is_error
        assert "dataset" in unheard.content[0].text


@pytest.mark.anyio
async def test_submitting_takes_a_key_of_ones_own(served: tuple[str, str, str]) -> None:
    url, _, key = served
    row = {name: part for name, part in sample().items() if name != "visibility"}
    async with client(url) as stranger:
        refused = await stranger.call_tool("submit_measurement", row)
        assert refused.is_error
        assert "key" in refused.content[0].text
    async with client(url, key) as agent:
        stored = await called(agent, "submit_measurement", **row)
        assert stored["status"] == "accepted"
        again = await called(agent, "submit_measurement", **row)
        assert (again["id"], again["duplicate"]) == (stored["id"], True)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "remote",
    [
        pytest.param(True, id="of a service"),
        # It loads the engine and the whole service in a process of its own.
        pytest.param(False, id="of the settings' database", marks=pytest.mark.slow),
    ],
)
async def test_the_same_tools_over_standard_input_and_output(
    served: tuple[str, str, str], tmp_path: Path, remote: bool
) -> None:
    url, database, key = served
    environment = {**os.environ, "TRAINCAST_KEY": key, "TRAINCAST_HOME": str(tmp_path)}
    environment |= {"TRAINCAST_URL": url} if remote else {"TRAINCAST_DATABASE_URL": database}
    command = mcp.StdioServerParameters(
        command=sys.executable, args=["-c", "from service.cli import main; main()", "mcp"], env=environment
    )
    async with mcp.Client(command) as agent:
        assert {tool.name for tool in (await agent.list_tools()).tools} == TOOLS
        answer = await called(agent, "estimate", **RUN)
        assert answer["throughput"]["samples_per_second"]["p50"] > 1000
        row = {name: part for name, part in sample().items() if name != "visibility"}
        assert (await called(agent, "submit_measurement", **row))["status"] == "accepted"


def test_tools_are_served_only_where_asked_for(service_url: str) -> None:
    import httpx

    assert httpx.post(f"{service_url}/mcp", json={}).status_code == 404
