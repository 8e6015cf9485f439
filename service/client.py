"""A typed client of a running service, for other tools and for training jobs.

    with Traincast("http://localhost:8000") as traincast:
        answer = traincast.estimate(model="llama-3-8b", hardware={"accelerator": "H100-SXM5-80GB", "count": 256})
        print(answer.throughput.tokens_per_second)

`AsyncTraincast` is the same with `await`. Needs only httpx and pydantic.
"""

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from service.estimates.schemas import Estimate, EstimateRequest, SavedEstimate

Object = Mapping[str, Any] | str
"""A part of a configuration: its fields, or its name alone."""

TIMEOUT_SECONDS = 60.0
NDJSON = {"content-type": "application/x-ndjson"}


class TraincastError(Exception):
    """The service's answer was a problem document (RFC 9457), or no answer that we can read.

    Attributes:
        status: The HTTP status.
        problem: The document: `title`, `detail`, `errors` (each `field`, `message`, `hint`).
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = dict(problem)
        super().__init__(_told(self.problem) or f"HTTP status {status}")


class Traincast:
    """A connection to a service; close it, or use it as a context manager."""

    def __init__(self, url: str, *, key: str | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        """
        Args:
            url: Where the service is, e.g. `http://localhost:8000`.
            key: API key, for calls that need one.
            timeout: Seconds that a call may take to connect, and between two pieces of its answer.
        """
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout)

    def estimate(self, *, model: Object, hardware: Object, **more: Any) -> Estimate:
        """The forecast of one training run.

        Args:
            model: Fields of the model, or its name.
            hardware: Fields of the hardware, or the accelerator's name.
            more: `data`, `training`, `software`, `pricing`, `location`, `goodput`, `site`, `runs`, `save`.

        Raises:
            TraincastError: The configuration cannot run or be read; `problem["errors"]` names the fields.
            httpx.HTTPError: The service cannot be reached.
        """
        return Estimate.model_validate(_read(self._http.post("/v1/estimates", json=_request(model, hardware, more))))

    def estimate_many(
        self, requests: Iterable[EstimateRequest | Mapping[str, Any]]
    ) -> Iterator[Estimate | TraincastError]:
        """The forecasts of many runs, in order; a request that has none gives its error instead."""
        content = (_line(request) for request in requests)
        with self._http.stream("POST", "/v1/estimates/batch", content=content, headers=NDJSON) as response:
            if response.is_error:
                response.read()
                _read(response)
            for line in response.iter_lines():
                yield _answer(line)

    def saved_estimate(self, estimate_id: str) -> SavedEstimate:
        """An estimate that was saved."""
        return SavedEstimate.model_validate(_read(self._http.get(f"/v1/estimates/{estimate_id}")))

    def calibrate(self, *, force: bool = False) -> dict[str, Any]:
        """Requests a new calibration; `get("/v1/calibrations/VERSION")` says how far it is. Needs a key (`calibrate`).

        Args:
            force: Put it in use even if it is worse on held-out sources than the one in use.
        """
        return _object(self._http.post("/v1/calibrations", json={"force": force}))

    def activate_calibration(self, version: str) -> dict[str, Any]:
        """Puts a fitted calibration in use, an earlier one or one that was not. Needs a key (`calibrate`)."""
        return _object(self._http.post(f"/v1/calibrations/{version}/activate"))

    def get(self, path: str, **parameters: Any) -> Any:
        """Any other resource as JSON, e.g. `get("/v1/models", q="llama")`."""
        return _read(self._http.get(path, params=parameters))

    def items(self, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """All items of a paged list, e.g. `items("/v1/measurements", **{"model.family": "cnn"})`."""
        while True:
            page = self.get(path, **parameters)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            parameters["cursor"] = page["next_cursor"]

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncTraincast:
    """The asynchronous twin of `Traincast`, with the same methods and errors."""

    def __init__(self, url: str, *, key: str | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        """As `Traincast`."""
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout)

    async def estimate(self, *, model: Object, hardware: Object, **more: Any) -> Estimate:
        """As `Traincast.estimate`."""
        response = await self._http.post("/v1/estimates", json=_request(model, hardware, more))
        return Estimate.model_validate(_read(response))

    async def estimate_many(
        self, requests: Iterable[EstimateRequest | Mapping[str, Any]]
    ) -> AsyncIterator[Estimate | TraincastError]:
        """As `Traincast.estimate_many`."""

        async def content() -> AsyncIterator[bytes]:
            for request in requests:
                yield _line(request)

        async with self._http.stream("POST", "/v1/estimates/batch", content=content(), headers=NDJSON) as response:
            if response.is_error:
                await response.aread()
                _read(response)
            async for line in response.aiter_lines():
                yield _answer(line)

    async def saved_estimate(self, estimate_id: str) -> SavedEstimate:
        """As `Traincast.saved_estimate`."""
        return SavedEstimate.model_validate(_read(await self._http.get(f"/v1/estimates/{estimate_id}")))

    async def calibrate(self, *, force: bool = False) -> dict[str, Any]:
        """As `Traincast.calibrate`."""
        return _object(await self._http.post("/v1/calibrations", json={"force": force}))

    async def activate_calibration(self, version: str) -> dict[str, Any]:
        """As `Traincast.activate_calibration`."""
        return _object(await self._http.post(f"/v1/calibrations/{version}/activate"))

    async def get(self, path: str, **parameters: Any) -> Any:
        """As `Traincast.get`."""
        return _read(await self._http.get(path, params=parameters))

    async def items(self, path: str, **parameters: Any) -> AsyncIterator[dict[str, Any]]:
        """As `Traincast.items`."""
        while True:
            page = await self.get(path, **parameters)
            for item in page["items"]:
                yield item
            if page["next_cursor"] is None:
                return
            parameters["cursor"] = page["next_cursor"]

    async def close(self) -> None:
        """Closes the connection."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _headers(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _request(model: Object, hardware: Object, more: Mapping[str, Any]) -> dict[str, Any]:
    named = {"name": model} if isinstance(model, str) else dict(model)
    chips = {"accelerator": hardware} if isinstance(hardware, str) else dict(hardware)
    return {"model": named, "hardware": chips, **more}


def _line(request: EstimateRequest | Mapping[str, Any]) -> bytes:
    if isinstance(request, EstimateRequest):
        return request.model_dump_json(exclude_unset=True).encode() + b"\n"
    return json.dumps(dict(request)).encode() + b"\n"


def _answer(line: str) -> Estimate | TraincastError:
    answer = json.loads(line)
    return TraincastError(answer["status"], answer) if "status" in answer else Estimate.model_validate(answer)


def _read(response: httpx.Response) -> Any:
    if not response.is_error:
        return response.json()
    try:
        problem = response.json()
    except ValueError:
        problem = {"detail": response.text[:500]}
    raise TraincastError(response.status_code, problem if isinstance(problem, dict) else {"detail": str(problem)})


def _object(response: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = _read(response)
    return found


def _told(problem: Mapping[str, Any]) -> str:
    """The problem in words: its detail, and how each field at fault would be right."""
    hints = [f"{error['field']}: {error['hint']}" for error in problem.get("errors", []) if error.get("hint")]
    return " ".join([str(problem.get("detail", "")), *(f"({hint})" for hint in hints)]).strip()
