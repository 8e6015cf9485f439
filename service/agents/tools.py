"""The tools: each a small function that makes one call of the HTTP API, in the name of whoever called the tool.

So keys, limits, refusals and answers are those of the API, whichever way a tool is reached. A further operation is a
further function in `TOOLS`.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

import httpx
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field, create_model

from service.client import AsyncTraincast, TraincastError
from service.configuration import Data, Hardware, Model, Provenance, Result, Software, Training
from service.estimates.schemas import Location, Pricing
from service.levers.schemas import Assume
from service.plans.schemas import Objective, PlanHardware

INSTRUCTIONS = """\
Predicts how long a training run takes, its throughput, memory, cost, energy and carbon, each as a median (p50) with a
calibrated 80 % interval (p10 to p90). Find what a model or chip is called first if unsure. An answer's `assumptions`
say what was not stated; state it for a better answer. Speeds of runs that took place can be searched and submitted.
"""
MOST_FOUND = 50

Service = Callable[[Context], AbstractAsyncContextManager[AsyncTraincast]]
"""Reaches the API in the name of whoever made a call."""
Found = Annotated[int, Field(ge=1, le=MOST_FOUND, description="At most so many.")]

Members = Annotated[
    list[str] | None,
    Field(
        description="Members of the answer that are wanted; all if left out.",
        examples=[["duration_hours", "cost_usd", "throughput.samples_per_second"]],
    ),
]


async def estimate(
    service: AsyncTraincast,
    model: Model,
    hardware: Hardware,
    data: Data | None = None,
    training: Training | None = None,
    software: Software | None = None,
    pricing: Pricing | None = None,
    location: Location | None = None,
    fields: Members = None,
) -> dict[str, Any]:
    """Predict one training run. Only model and hardware.accelerator are required; give data (tokens, or samples and
    epochs, or a known name) for duration and cost."""
    run = _stated(model=model, hardware=hardware)
    run |= _stated(data=data, training=training, software=software, pricing=pricing, location=location)
    if fields:
        return await service.figures(fields, **run)
    return (await service.estimate(**run)).model_dump(mode="json", exclude_none=True)


async def plan(
    service: AsyncTraincast,
    model: Model,
    hardware: PlanHardware,
    data: Data | None = None,
    training: Training | None = None,
    software: Software | None = None,
    deadline_hours: float | None = None,
    budget_usd: float | None = None,
    objective: Objective = "time",
    limit: Found = 5,
) -> dict[str, Any]:
    """Find on which of some chips, how many of them and laid out how a run is quickest, cheapest or takes the least
    energy, within a deadline or a budget. What training says is fixed, the rest is searched."""
    limits = {"deadline_hours": deadline_hours, "budget_usd": budget_usd}
    more: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    more |= {"objective": objective, "limit": limit}
    parts = _stated(data=data, training=training, software=software)
    answer = await service.plan(**_stated(model=model, hardware=hardware), **parts, **more)
    return answer.model_dump(mode="json", exclude_none=True)


async def levers(
    service: AsyncTraincast,
    model: Model,
    hardware: Hardware,
    data: Data | None = None,
    training: Training | None = None,
    software: Software | None = None,
    assume: Assume | None = None,
) -> dict[str, Any]:
    """Find what would shorten a run, each change with its predicted speed-up and trade-off, best first."""
    parts = _stated(data=data, training=training, software=software, assume=assume)
    answer = await service.levers(**_stated(model=model, hardware=hardware), **parts)
    return answer.model_dump(mode="json", exclude_none=True)


async def find_measurements(
    service: AsyncTraincast,
    where: Annotated[
        dict[str, str | float | bool],
        Field(
            description="Fields that must be so, by dotted name, e.g. model.family, hardware.accelerator, "
            "training.precision; FIELD.at_least, .at_most and .contains compare. Models are named as their sources "
            "spell them: model.name.contains finds more.",
            examples=[{"model.family": "decoder", "hardware.count.at_least": 64}],
        ),
    ],
    limit: Found = 10,
) -> dict[str, Any]:
    """Find measured training speeds, each with its configuration and where it comes from."""
    return dict(await service.get("/v1/measurements", **where, limit=limit))


async def find_models(
    service: AsyncTraincast, query: Annotated[str, Field(description="Part of a name.")], limit: Found = 10
) -> dict[str, Any]:
    """Find models that are known by name, with their shapes; the best matches come first."""
    return dict(await service.get("/v1/models", q=query, limit=limit))


async def find_accelerators(
    service: AsyncTraincast, query: Annotated[str, Field(description="Part of a name.")], limit: Found = 10
) -> dict[str, Any]:
    """Find chips that are known by name, with their peaks, memory and links."""
    return dict(await service.get("/v1/accelerators", q=query, limit=limit))


async def submit_measurement(
    service: AsyncTraincast,
    model: Model,
    hardware: Hardware,
    result: Result,
    data: Data | None = None,
    training: Training | None = None,
    software: Software | None = None,
    provenance: Provenance | None = None,
    visibility: Annotated[str | None, Field(description="shared or team.")] = None,
) -> dict[str, Any]:
    """Submit what one run measured. Needs an API key with the scope submit; stored for good. The same row again is not
    stored twice."""
    parts = _stated(data=data, training=training, software=software, provenance=provenance)
    more: dict[str, Any] = {"visibility": visibility} if visibility else {}
    stored = await service.submit(**_stated(model=model, hardware=hardware, result=result), **parts, **more)
    return stored.model_dump(mode="json", exclude_none=True)


READING = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ADDING = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
TOOLS: Mapping[Callable[..., Any], ToolAnnotations] = {
    estimate: READING,
    plan: READING,
    levers: READING,
    find_measurements: READING,
    find_models: READING,
    find_accelerators: READING,
    submit_measurement: ADDING,
}


def toolbox(service: Service, version: str) -> MCPServer:
    """A server of the tools.

    Args:
        service: How they reach the API.
        version: Of this service.
    """
    tools = [_strict(Tool.from_function(_bound(tool, service), annotations=hints)) for tool, hints in TOOLS.items()]
    return MCPServer(
        "traincast",
        title="Traincast",
        instructions=INSTRUCTIONS,
        version=version,
        tools=tools,
        log_level="WARNING",
    )


def _strict(tool: Tool) -> Tool:
    """The tool with unknown arguments refused, as the API refuses unknown fields; by itself it drops them unsaid."""
    taken = tool.fn_metadata.arg_model
    strict = create_model(taken.__name__, __base__=taken, __cls_kwargs__={"extra": "forbid"})
    metadata = tool.fn_metadata.model_copy(update={"arg_model": strict})
    return tool.model_copy(update={"fn_metadata": metadata, "parameters": strict.model_json_schema(by_alias=True)})


def _bound(tool: Callable[..., Any], service: Service) -> Callable[..., Any]:
    """The tool as the protocol sees it: in place of the service it takes the call's context, and problems are told."""

    async def called(context: Context, **arguments: Any) -> dict[str, Any]:
        try:
            async with service(context) as reached:
                answer: dict[str, Any] = await tool(reached, **arguments)
                return answer
        except TraincastError as error:
            raise ToolError(_told(error)) from error
        except httpx.HTTPError as error:
            raise ToolError(f"The service cannot be reached: {error}") from error

    signature = inspect.signature(tool)
    taken = [parameter for name, parameter in signature.parameters.items() if name != "service"]
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=Context)
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in taken]
    called.__signature__ = signature.replace(parameters=[context, *keywords])  # type: ignore[attr-defined]
    called.__annotations__ = {**tool.__annotations__, "context": Context}
    del called.__annotations__["service"]
    called.__name__, called.__doc__ = tool.__name__, tool.__doc__
    return called


def _told(error: TraincastError) -> str:
    """The problem as an agent can mend it: what is wrong at which field, and what would be right."""
    flaws = error.problem.get("errors") or []
    lines = [
        f"{flaw['field']}: {flaw['message']}" + (f" ({flaw['hint']})" if flaw.get("hint") else "") for flaw in flaws
    ]
    return "\n".join([str(error.problem.get("detail") or error), *lines])


def _stated(**parts: BaseModel | None) -> dict[str, Any]:
    """What was stated of each part, as JSON."""
    return {name: part.model_dump(mode="json", exclude_unset=True) for name, part in parts.items() if part is not None}
