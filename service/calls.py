"""One request as both clients of `client.py` send it: what it says, whether it may be repeated, how it is read."""

import json
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import anyio.to_thread
import httpx

from service.estimates.schemas import Estimate, EstimateRequest

Object = Mapping[str, Any] | str
"""A part of a configuration: its fields, or its name alone."""
Rows = Path | Iterable[Mapping[str, Any]]
"""Measurements: a file (.csv, .ndjson, .jsonl), or objects."""
ImportMode = Literal["best_effort", "atomic", "check"]
Sent = Callable[[int], None]
"""Told how many bytes of a file were sent."""

TIMEOUT_SECONDS = 60.0
IMPORT_TIMEOUT = httpx.Timeout(TIMEOUT_SECONDS, read=3600.0)
"""An import is answered when its last row is stored."""
ATTEMPTS = 5
PATIENCE_SECONDS = 45.0
"""How long a call is tried again: longer than a database or a replica takes to start anew."""
BUSY = frozenset({429, 502, 503, 504})
NDJSON = {"content-type": "application/x-ndjson"}
CSV = {"content-type": "text/csv"}
PIECE = 1 << 16


class TraincastError(Exception):
    """The service's answer was a problem document (RFC 9457), or no answer that we can read.

    Attributes:
        status: The HTTP status.
        problem: The document: `title`, `detail`, `errors` (each `field`, `message`, `hint`).
        retry_after: Seconds after which the service asks to try again, where it does.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.problem = dict(problem)
        self.retry_after = retry_after
        super().__init__(_told(self.problem) or f"HTTP status {status}")


@dataclass(frozen=True)
class Call:
    """One request, as the two clients send it; `file` is sent anew at each attempt, `sent` told how far it is."""

    method: str
    path: str
    json: Any = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    file: IO[bytes] | None = None
    sent: Sent | None = None
    is_safe: bool = True
    timeout: httpx.Timeout | None = None

    def options(self) -> dict[str, Any]:
        """The arguments of httpx for all but the body of a file."""
        given = {"params": self.parameters or None, "headers": dict(self.headers), "timeout": self.timeout}
        return {name: value for name, value in given.items() if value} | ({"json": self.json} if self.json else {})


def headers(key: str | None) -> dict[str, str]:
    """The headers that carry a key."""
    return {"authorization": f"Bearer {key}"} if key else {}


def _request(model: Object, hardware: Object, more: Mapping[str, Any]) -> dict[str, Any]:
    named = {"name": model} if isinstance(model, str) else dict(model)
    chips = {"accelerator": hardware} if isinstance(hardware, str) else dict(hardware)
    return {"model": named, "hardware": chips, **more}


def estimate(model: Object, hardware: Object, more: Mapping[str, Any]) -> Call:
    """The call for one forecast."""
    # Saved twice, an estimate would be there twice.
    return Call("POST", "/v1/estimates", _request(model, hardware, more), is_safe=not more.get("save"))


def figures(fields: Sequence[str], model: Object, hardware: Object, more: Mapping[str, Any]) -> Call:
    """The call for some members of a forecast."""
    return Call("POST", "/v1/estimates", _request(model, hardware, more), parameters=members(fields))


def members(fields: Sequence[str]) -> dict[str, str]:
    """The parameter that says which members of an estimate are wanted."""
    return {"fields": ",".join(fields)}


def sweep(model: Object, hardware: Object, vary: Mapping[str, Any], more: Mapping[str, Any]) -> Call:
    """The call for the forecasts along one field or two."""
    return Call("POST", "/v1/sweeps", _request(model, hardware, {"vary": dict(vary), **more}))


def offers(model: Object, hardware: Object, more: Mapping[str, Any]) -> Call:
    """The call for a run at every known price."""
    return Call("POST", "/v1/offers", _request(model, hardware, more))


def levers(model: Object, hardware: Object, more: Mapping[str, Any]) -> Call:
    """The call for what would shorten a run."""
    return Call("POST", "/v1/levers", _request(model, hardware, more))


def plan(model: Object, hardware: Mapping[str, Any] | Sequence[str], more: Mapping[str, Any]) -> Call:
    """The call for plans."""
    chips = dict(hardware) if isinstance(hardware, Mapping) else {"accelerators": list(hardware)}
    return Call("POST", "/v1/plans", _request(model, chips, more))


def submission(
    model: Object, hardware: Object, result: Mapping[str, Any], key: str | None, more: Mapping[str, Any]
) -> Call:
    """The call that submits one measurement."""
    once = {"idempotency-key": key or str(uuid.uuid4())}
    return Call("POST", "/v1/measurements", _request(model, hardware, {"result": dict(result), **more}), headers=once)


def importing(file: IO[bytes], kind: Mapping[str, str], mode: str, restore: bool, sent: Sent | None = None) -> Call:
    """The call that imports a file."""
    parameters = {"mode": mode, **({"restore": "true"} if restore else {})}
    headers = {**kind, "idempotency-key": str(uuid.uuid4())}
    path = "/v1/measurements/import"
    return Call("POST", path, parameters=parameters, headers=headers, file=file, sent=sent, timeout=IMPORT_TIMEOUT)


def decision(measurement_id: str, verb: str, reason: str | None) -> Call:
    """The call of a curator."""
    return Call("POST", f"/v1/measurements/{measurement_id}/{verb}", {"reason": reason} if reason else None)


def withdrawal(measurement_id: str) -> Call:
    """The call that withdraws a measurement."""
    return Call("DELETE", f"/v1/measurements/{measurement_id}")


@contextmanager
def opened(rows: Rows) -> Iterator[tuple[IO[bytes], Mapping[str, str]]]:
    """A file that can be read again, and its type: objects are written to a temporary one."""
    if isinstance(rows, Path):
        with rows.open("rb") as file:
            yield file, NDJSON if rows.suffix in (".ndjson", ".jsonl") else CSV
        return
    with tempfile.TemporaryFile() as written:
        for row in rows:
            written.write(json.dumps(dict(row)).encode() + b"\n")
        yield written, NDJSON


def pieces(file: IO[bytes], sent: Sent | None = None) -> Iterator[bytes]:
    """A file from its start, in pieces; `sent` is told after each how many bytes that were."""
    file.seek(0)
    while piece := file.read(PIECE):
        yield piece
        if sent is not None:
            sent(file.tell())


async def async_pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    """As `pieces`."""
    file.seek(0)
    while piece := await anyio.to_thread.run_sync(file.read, PIECE):
        yield piece


def worth_trying_again(call: Call) -> Callable[[Exception], bool | float]:
    """Whether an attempt that failed so is made again, and after how many seconds if the service says."""

    def hook(error: Exception) -> bool | float:
        if not call.is_safe:
            return False
        if isinstance(error, TraincastError):
            return error.status in BUSY and (True if error.retry_after is None else error.retry_after)
        return isinstance(error, httpx.TransportError)

    return hook


def line(request: EstimateRequest | Mapping[str, Any]) -> bytes:
    """A request as a line of NDJSON."""
    if isinstance(request, EstimateRequest):
        return request.model_dump_json(exclude_unset=True).encode() + b"\n"
    return json.dumps(dict(request)).encode() + b"\n"


def answer(line: str) -> Estimate | TraincastError:
    """A line of answers."""
    answer = some_of_answer(line)
    return answer if isinstance(answer, TraincastError) else Estimate.model_validate(answer)


def some_of_answer(line: str) -> dict[str, Any] | TraincastError:
    """A line of answers with some members only."""
    answer: dict[str, Any] = json.loads(line)
    return TraincastError(answer["status"], answer) if "status" in answer else answer


def read(response: httpx.Response) -> Any:
    """The answer as JSON. Raises `TraincastError` for a problem."""
    if not response.is_error:
        return response.json()
    try:
        problem = response.json()
    except ValueError:
        problem = {"detail": response.text[:500]}
    asked = response.headers.get("retry-after", "")
    raise TraincastError(
        response.status_code,
        problem if isinstance(problem, dict) else {"detail": str(problem)},
        float(asked) if asked.isdigit() else None,
    )


def _told(problem: Mapping[str, Any]) -> str:
    """The problem in words: its detail, and how each field at fault would be right."""
    hints = [f"{error['field']}: {error['hint']}" for error in problem.get("errors", []) if error.get("hint")]
    return " ".join([str(problem.get("detail", "")), *(f"({hint})" for hint in hints)]).strip()
