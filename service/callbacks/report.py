"""A run's measurement: put together from what was stated, seen and timed, then shown, written and submitted."""

import json
import logging
import os
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from service.callbacks import surroundings
from service.callbacks.steady import FEWEST_WINDOWS, Steady
from service.configuration import Measurement

logger = logging.getLogger(__name__)

LARGEST_SPREAD = 0.2
"""Standard deviation over median above which a run is not submitted, unless more is allowed. Judgement: repeats of
one run lie within a few percent; more than this is another load on the machine, or a loop that waits for its data."""

Fields = Mapping[str, object]


class Reporting(TypedDict, total=False):
    """What every way of measuring a loop may be told; all of it is optional.

    `model`, `data`, `hardware`, `training` and `software` are fields of the vocabulary; they win over what is seen.
    """

    url: str
    """Where the service is; TRAINCAST_URL if absent."""
    key: str
    """API key; TRAINCAST_KEY if absent."""
    submit: bool
    """Submit at the end. Otherwise it is a dry run."""
    file: Path
    """Where the measurement is written as JSON, as `traincast submit` takes it."""
    model: Fields | str
    data: Fields
    hardware: Fields | str
    training: Fields
    software: Fields
    provenance: Fields
    visibility: str
    """shared or team."""
    site: str
    largest_spread: float
    """Standard deviation over median above which it is not submitted; `LARGEST_SPREAD` if absent."""
    estimate_id: str
    """The saved estimate that this run was predicted by."""


class Reporter:
    """Ends a measured run: `measurement` is what it came to, `stored` what the service made of it, None if nothing."""

    def __init__(self, options: Reporting) -> None:
        """
        Raises:
            TypeError: An option that is none of `Reporting`.
            ValueError: It is to be submitted, and nothing says where or with which key.
        """
        unknown = set(options) - set(Reporting.__annotations__)
        if unknown:
            raise TypeError(f"unknown option {sorted(unknown)[0]!r}: there are {', '.join(Reporting.__annotations__)}")
        self.options = options
        self._url = options.get("url") or os.environ.get("TRAINCAST_URL")
        self._key = options.get("key") or os.environ.get("TRAINCAST_KEY")
        # Said before the training starts, not after it.
        if options.get("submit") and not (self._url and self._key):
            raise ValueError("submitting takes url and key, or TRAINCAST_URL and TRAINCAST_KEY")
        self.measurement: dict[str, Any] | None = None
        self.stored: Any = None

    def report(self, seen: Mapping[str, Fields], steady: Steady | None, kind: str) -> None:
        """Puts the measurement together, says it on standard error, writes and submits it as was asked.

        Args:
            seen: Fields of the vocabulary by section, as the loop and its surroundings show them.
            steady: What was timed; None if it was too little.
            kind: What the run was on, one of `surroundings.device_kind`.

        Raises:
            pydantic.ValidationError: What was stated is no configuration.
            OSError: The file cannot be written.
            TraincastError, httpx.HTTPError: The service refuses it or cannot be reached.
        """
        if steady is None:
            logger.warning(
                "traincast: too few steps to measure: %d windows after the warm-up are needed; "
                "take a smaller window_steps or warm_up_steps",
                FEWEST_WINDOWS,
            )
            return
        made = Measurement.model_validate(self._assembled(seen, steady, kind))
        self.measurement = made.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        speed = f"{steady.samples_per_second:.4g} samples/s, spread {steady.spread:.1%}"
        if path := self.options.get("file"):
            path.write_text(json.dumps(self.measurement, indent=2) + "\n", encoding="utf-8")
        if not self.options.get("submit"):
            print(f"traincast: {speed}; dry run, not submitted (submit=True does)", file=sys.stderr)
        elif steady.spread > (largest := self.options.get("largest_spread", LARGEST_SPREAD)):
            logger.warning("traincast: %s: too unsteady to be submitted (largest_spread %g)", speed, largest)
        else:
            self._submit(self.measurement)
            print(f"traincast: {speed}; submitted as {self.stored.id}, {self.stored.status}", file=sys.stderr)

    def _submit(self, measurement: Mapping[str, Any]) -> None:
        from service.client import Traincast

        assert self._url, "as was checked at the start"
        with Traincast(self._url, key=self._key) as service:
            self.stored = service.submit(**measurement, idempotency_key=str(uuid.uuid4()))

    def _assembled(self, seen: Mapping[str, Fields], steady: Steady, kind: str) -> dict[str, Any]:
        notes = (
            f"steady state: median of {steady.windows} windows, {steady.steps} steps in all, spread {steady.spread:.1%}"
            f" (1.4826 MAD / median); {', '.join(f'{name} {is_}' for name, is_ in surroundings.versions(kind).items())}"
        )
        whole: dict[str, dict[str, object]] = {
            "model": {},
            "data": {},
            "hardware": surroundings.hardware(kind),
            "training": {"global_batch": steady.samples_per_step},
            "software": {"framework": "pytorch"} | _torch_version(),
            "provenance": {"measured_on": datetime.now(UTC).date().isoformat(), "evidence": "log", "notes": notes},
            "result": {"value": steady.samples_per_second, "unit": "samples_per_second", "basis": "steps"},
        }
        if steady.tokens_per_sample is not None:
            whole["data"]["sequence_length"] = steady.tokens_per_sample
        if (peak := surroundings.peak_memory_gb(kind)) is not None:
            whole["result"]["peak_memory_gb"] = peak
        for section, fields in seen.items():
            whole[section] |= {name: value for name, value in fields.items() if value is not None}
        for section in ("model", "data", "hardware", "training", "software", "provenance"):
            stated: Any = self.options.get(section, {})
            fields = {_BARE[section]: stated} if isinstance(stated, str) else dict(stated)
            if section == "hardware" and fields.get("count", whole[section]["count"]) != whole[section]["count"]:
                # Processes that aren't what is counted don't show how many of that there are in a machine either.
                del whole[section]["per_node"]
            whole[section] |= fields
        about = {name: self.options[name] for name in ("visibility", "site", "estimate_id") if name in self.options}
        return {name: fields for name, fields in whole.items() if fields} | about


_BARE = {"model": "name", "hardware": "accelerator"}
"""The field that a section given as bare text is."""


def _torch_version() -> dict[str, object]:
    torch = surroundings.loaded_torch()
    return {} if torch is None else {"framework_version": str(torch.__version__)}
