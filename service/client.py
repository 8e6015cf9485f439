"""A typed client of a running service, for other tools and for training jobs.

    with Traincast("http://localhost:8000", key=KEY) as traincast:
        answer = traincast.estimate(model="llama-3-8b", hardware={"accelerator": "H100-SXM5-80GB", "count": 256})
        traincast.submit(model="llama-3-8b", hardware={"accelerator": "H100-SXM5-80GB", "count": 256},
                         result={"value": 2.1e6, "unit": "tokens_per_second"})

`AsyncTraincast` is the same with `await`. What is safe to repeat is tried again, with back-off, when the service cannot
be reached or says that it is busy; submissions carry an idempotency key, so that they are safe. Needs only httpx,
pydantic and stamina.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx
import stamina

from service import calls
from service.calls import ATTEMPTS, NDJSON, PATIENCE_SECONDS, TIMEOUT_SECONDS, ImportMode, Object, Rows, Sent
from service.calls import TraincastError as TraincastError
from service.estimates.schemas import Estimate, EstimateRequest, SavedEstimate
from service.levers.schemas import Levers
from service.measurements.schemas import MeasurementEntry
from service.offers.schemas import Offers
from service.plans.schemas import PlanAnswer
from service.submissions.schemas import ImportReport, Submitted
from service.sweeps.schemas import Sweep


class Traincast:
    """A connection to a service; close it, or use it as a context manager."""

    def __init__(self, url: str, *, key: str | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        """
        Args:
            url: Where the service is, e.g. `http://localhost:8000`.
            key: API key, for calls that need one.
            timeout: Seconds that a call may take to connect, and between two pieces of its answer.
        """
        self._http = httpx.Client(base_url=url, headers=calls.headers(key), timeout=timeout)

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
        return Estimate.model_validate(self._sent(calls.estimate(model, hardware, more)))

    def estimate_many(
        self, requests: Iterable[EstimateRequest | Mapping[str, Any]]
    ) -> Iterator[Estimate | TraincastError]:
        """The forecasts of many runs, in order; a request that has none gives its error instead."""
        return map(calls.answer, self._batch(requests, {}))

    def figures(self, fields: Sequence[str], *, model: Object, hardware: Object, **more: Any) -> dict[str, Any]:
        """Some members of a forecast, as JSON has them: quicker, for what others need is not computed.

        Args:
            fields: Members, e.g. `["duration_hours", "throughput.samples_per_second"]`.
            model: Fields of the model, or its name.
            hardware: Fields of the hardware, or the accelerator's name.
            more: As for `estimate`, except `save`.

        Raises:
            TraincastError: There is no such member, or the configuration cannot run or be read.
            httpx.HTTPError: The service cannot be reached.
        """
        return dict(self._sent(calls.figures(fields, model, hardware, more)))

    def figures_of_many(
        self, fields: Sequence[str], requests: Iterable[EstimateRequest | Mapping[str, Any]]
    ) -> Iterator[dict[str, Any] | TraincastError]:
        """As `estimate_many`, with the members of `figures`."""
        return map(calls.some_of_answer, self._batch(requests, calls.members(fields)))

    def sweep(self, *, model: Object, hardware: Object, vary: Mapping[str, Any], **more: Any) -> Sweep:
        """The forecasts along one field, or over a grid of two.

        Args:
            model: Fields of the model, or its name.
            hardware: Fields of the hardware, or the accelerator's name.
            vary: Values or a range by dotted path, e.g. `{"hardware.count": [8, 16, 32]}`.
            more: As for `estimate`, except `save`.

        Raises:
            TraincastError: The sweep cannot be asked for; points that cannot run carry their own `problem`.
            httpx.HTTPError: The service cannot be reached.
        """
        return Sweep.model_validate(self._sent(calls.sweep(model, hardware, vary, more)))

    def offers(self, *, model: Object, hardware: Object, **more: Any) -> Offers:
        """One run at every known price of its chips, best first.

        Args:
            model: Fields of the model, or its name.
            hardware: Fields of the hardware, or the accelerator's name.
            more: As for `estimate`, except `save`; `order` is `cost` or `carbon`.

        Raises:
            TraincastError: The configuration cannot run, or says no amount of data.
            httpx.HTTPError: The service cannot be reached.
        """
        return Offers.model_validate(self._sent(calls.offers(model, hardware, more)))

    def levers(self, *, model: Object, hardware: Object, **more: Any) -> Levers:
        """What would shorten a run, the largest speed-up first.

        Args:
            model: Fields of the model, or its name.
            hardware: Fields of the hardware, or the accelerator's name.
            more: As for `estimate`, except `save`; `assume` is what is known of how the model learns.

        Raises:
            TraincastError: The configuration cannot run or be read; `problem["errors"]` names the fields.
            httpx.HTTPError: The service cannot be reached.
        """
        return Levers.model_validate(self._sent(calls.levers(model, hardware, more)))

    def plan(self, *, model: Object, hardware: Mapping[str, Any] | Sequence[str], **more: Any) -> PlanAnswer:
        """On which chips, how many of them and laid out how a run is quickest, cheapest or takes the least energy.

        Args:
            model: Fields of the model, or its name.
            hardware: `accelerators` with `max_count`, `counts`, ..., or the accelerators' names alone.
            more: `data`, `training`, `software`, `deadline_hours`, `budget_usd`, `objective`, `pricing`, `location`,
                `goodput`, `site`, `runs`, `layouts`, `limit`.

        Raises:
            TraincastError: It cannot be planned or read; `problem["errors"]` names the fields.
            httpx.HTTPError: The service cannot be reached.
        """
        return PlanAnswer.model_validate(self._sent(calls.plan(model, hardware, more)))

    def saved_estimate(self, estimate_id: str) -> SavedEstimate:
        """An estimate that was saved."""
        return SavedEstimate.model_validate(self.get(f"/v1/estimates/{estimate_id}"))

    def submit(
        self,
        *,
        model: Object,
        hardware: Object,
        result: Mapping[str, Any],
        idempotency_key: str | None = None,
        **more: Any,
    ) -> Submitted:
        """Submits what one run measured; it is stored for good when this returns.

        Args:
            model: Fields of the model, or its name.
            hardware: Fields of the hardware, or the accelerator's name.
            result: `value`, `unit`, `peak_memory_gb`, ...
            idempotency_key: Of this submission; one is made if None.
            more: `data`, `training`, `software`, `provenance`, `visibility`, `site`, `estimate_id`.

        Raises:
            TraincastError: It cannot be (422, with the arithmetic), or the key does not allow it.
            httpx.HTTPError: The service cannot be reached.
        """
        call = calls.submission(model, hardware, result, idempotency_key, more)
        return Submitted.model_validate(self._sent(call))

    def import_rows(
        self, rows: Rows, *, mode: ImportMode = "best_effort", restore: bool = False, sent: Sent | None = None
    ) -> ImportReport:
        """Submits many measurements, or restores a complete export.

        Args:
            rows: A file of measurements, or their objects.
            mode: Each row on its own, or all or nothing.
            restore: Store rows as they were exported; needs a key with the scope `admin`.
            sent: Told how many bytes were sent; the service stores them as they come.

        Raises:
            TraincastError: The import was refused; `problem["errors"]` names rows and fields.
            httpx.HTTPError: The service cannot be reached.
            OSError: The file cannot be read.
        """
        with calls.opened(rows) as (file, kind):
            return ImportReport.model_validate(self._sent(calls.importing(file, kind, mode, restore, sent)))

    def accept(self, measurement_id: str, reason: str | None = None) -> MeasurementEntry:
        """Lifts a measurement's quarantine; needs a key with the scope `curate`."""
        return MeasurementEntry.model_validate(self._sent(calls.decision(measurement_id, "accept", reason)))

    def reject(self, measurement_id: str, reason: str | None = None) -> MeasurementEntry:
        """Keeps a measurement out of all predictions; needs a key with the scope `curate`."""
        return MeasurementEntry.model_validate(self._sent(calls.decision(measurement_id, "reject", reason)))

    def withdraw(self, measurement_id: str) -> MeasurementEntry:
        """Takes back one of the team's own measurements."""
        return MeasurementEntry.model_validate(self._sent(calls.withdrawal(measurement_id)))

    def export(self, **parameters: Any) -> Iterator[bytes]:
        """Measurements as a file, piece by piece, e.g. `export(format="ndjson", **{"model.family": "cnn"})`."""
        with self._http.stream("GET", "/v1/measurements/export", params=parameters) as response:
            if response.is_error:
                response.read()
                calls.read(response)
            yield from response.iter_bytes()

    def calibrate(self, *, force: bool = False) -> dict[str, Any]:
        """Requests a new calibration; `get("/v1/calibrations/VERSION")` says how far it is. Needs a key (`calibrate`).

        Args:
            force: Put it in use even if it is worse on held-out sources than the one in use.
        """
        return dict(self._sent(calls.Call("POST", "/v1/calibrations", json={"force": force})))

    def activate_calibration(self, version: str) -> dict[str, Any]:
        """Puts a fitted calibration in use, an earlier one or one that was not. Needs a key (`calibrate`)."""
        return dict(self._sent(calls.Call("POST", f"/v1/calibrations/{version}/activate")))

    def get(self, path: str, **parameters: Any) -> Any:
        """Any other resource as JSON, e.g. `get("/v1/models", q="llama")`."""
        return self._sent(calls.Call("GET", path, parameters=parameters))

    def items(self, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """All items of a paged list, e.g. `items("/v1/measurements", **{"model.family": "cnn"})`."""
        while True:
            page = self.get(path, **parameters)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            parameters["cursor"] = page["next_cursor"]

    def _batch(
        self, requests: Iterable[EstimateRequest | Mapping[str, Any]], parameters: Mapping[str, str]
    ) -> Iterator[str]:
        content, path = (calls.line(request) for request in requests), "/v1/estimates/batch"
        with self._http.stream("POST", path, params=parameters, content=content, headers=NDJSON) as response:
            if response.is_error:
                response.read()
                calls.read(response)
            yield from response.iter_lines()

    def _sent(self, call: calls.Call) -> Any:
        for attempt in stamina.retry_context(
            on=calls.worth_trying_again(call), attempts=ATTEMPTS, timeout=PATIENCE_SECONDS
        ):
            with attempt:
                body = None if call.file is None else calls.pieces(call.file, call.sent)
                return calls.read(self._http.request(call.method, call.path, content=body, **call.options()))
        raise AssertionError("the last attempt returns or raises")

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

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """As `Traincast`; `transport` carries the calls where no network does (an application in this process)."""
        self._http = httpx.AsyncClient(base_url=url, headers=calls.headers(key), timeout=timeout, transport=transport)

    async def estimate(self, *, model: Object, hardware: Object, **more: Any) -> Estimate:
        """As `Traincast.estimate`."""
        return Estimate.model_validate(await self._sent(calls.estimate(model, hardware, more)))

    async def estimate_many(
        self, requests: Iterable[EstimateRequest | Mapping[str, Any]]
    ) -> AsyncIterator[Estimate | TraincastError]:
        """As `Traincast.estimate_many`."""
        async for line in self._batch(requests, {}):
            yield calls.answer(line)

    async def figures(self, fields: Sequence[str], *, model: Object, hardware: Object, **more: Any) -> dict[str, Any]:
        """As `Traincast.figures`."""
        return dict(await self._sent(calls.figures(fields, model, hardware, more)))

    async def figures_of_many(
        self, fields: Sequence[str], requests: Iterable[EstimateRequest | Mapping[str, Any]]
    ) -> AsyncIterator[dict[str, Any] | TraincastError]:
        """As `Traincast.figures_of_many`."""
        async for line in self._batch(requests, calls.members(fields)):
            yield calls.some_of_answer(line)

    async def sweep(self, *, model: Object, hardware: Object, vary: Mapping[str, Any], **more: Any) -> Sweep:
        """As `Traincast.sweep`."""
        return Sweep.model_validate(await self._sent(calls.sweep(model, hardware, vary, more)))

    async def offers(self, *, model: Object, hardware: Object, **more: Any) -> Offers:
        """As `Traincast.offers`."""
        return Offers.model_validate(await self._sent(calls.offers(model, hardware, more)))

    async def levers(self, *, model: Object, hardware: Object, **more: Any) -> Levers:
        """As `Traincast.levers`."""
        return Levers.model_validate(await self._sent(calls.levers(model, hardware, more)))

    async def plan(self, *, model: Object, hardware: Mapping[str, Any] | Sequence[str], **more: Any) -> PlanAnswer:
        """As `Traincast.plan`."""
        return PlanAnswer.model_validate(await self._sent(calls.plan(model, hardware, more)))

    async def saved_estimate(self, estimate_id: str) -> SavedEstimate:
        """As `Traincast.saved_estimate`."""
        return SavedEstimate.model_validate(await self.get(f"/v1/estimates/{estimate_id}"))

    async def submit(
        self,
        *,
        model: Object,
        hardware: Object,
        result: Mapping[str, Any],
        idempotency_key: str | None = None,
        **more: Any,
    ) -> Submitted:
        """As `Traincast.submit`."""
        return Submitted.model_validate(
            await self._sent(calls.submission(model, hardware, result, idempotency_key, more))
        )

    async def import_rows(self, rows: Rows, *, mode: ImportMode = "best_effort", restore: bool = False) -> ImportReport:
        """As `Traincast.import_rows`."""
        with calls.opened(rows) as (file, kind):
            return ImportReport.model_validate(await self._sent(calls.importing(file, kind, mode, restore)))

    async def accept(self, measurement_id: str, reason: str | None = None) -> MeasurementEntry:
        """As `Traincast.accept`."""
        return MeasurementEntry.model_validate(await self._sent(calls.decision(measurement_id, "accept", reason)))

    async def reject(self, measurement_id: str, reason: str | None = None) -> MeasurementEntry:
        """As `Traincast.reject`."""
        return MeasurementEntry.model_validate(await self._sent(calls.decision(measurement_id, "reject", reason)))

    async def withdraw(self, measurement_id: str) -> MeasurementEntry:
        """As `Traincast.withdraw`."""
        return MeasurementEntry.model_validate(
            await self._sent(calls.Call("DELETE", f"/v1/measurements/{measurement_id}"))
        )

    async def calibrate(self, *, force: bool = False) -> dict[str, Any]:
        """As `Traincast.calibrate`."""
        return dict(await self._sent(calls.Call("POST", "/v1/calibrations", json={"force": force})))

    async def activate_calibration(self, version: str) -> dict[str, Any]:
        """As `Traincast.activate_calibration`."""
        return dict(await self._sent(calls.Call("POST", f"/v1/calibrations/{version}/activate")))

    async def get(self, path: str, **parameters: Any) -> Any:
        """As `Traincast.get`."""
        return await self._sent(calls.Call("GET", path, parameters=parameters))

    async def items(self, path: str, **parameters: Any) -> AsyncIterator[dict[str, Any]]:
        """As `Traincast.items`."""
        while True:
            page = await self.get(path, **parameters)
            for item in page["items"]:
                yield item
            if page["next_cursor"] is None:
                return
            parameters["cursor"] = page["next_cursor"]

    async def _batch(
        self, requests: Iterable[EstimateRequest | Mapping[str, Any]], parameters: Mapping[str, str]
    ) -> AsyncIterator[str]:
        async def content() -> AsyncIterator[bytes]:
            for request in requests:
                yield calls.line(request)

        path = "/v1/estimates/batch"
        async with self._http.stream("POST", path, params=parameters, content=content(), headers=NDJSON) as response:
            if response.is_error:
                await response.aread()
                calls.read(response)
            async for line in response.aiter_lines():
                yield line

    async def _sent(self, call: calls.Call) -> Any:
        again = calls.worth_trying_again(call)
        async for attempt in stamina.retry_context(on=again, attempts=ATTEMPTS, timeout=PATIENCE_SECONDS):
            with attempt:
                body = None if call.file is None else calls.async_pieces(call.file)
                return calls.read(await self._http.request(call.method, call.path, content=body, **call.options()))
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Closes the connection."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
