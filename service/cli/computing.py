"""Answers computed here, by the shipped calibration, instead of by a service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from service.cli.words import fail_with, shipped_forecaster

if TYPE_CHECKING:
    from pydantic import BaseModel

    from service.catalog.catalog import Catalog
    from service.problems import FieldError
    from service.sites.standpoint import Standpoint

    Asked = TypeVar("Asked", bound=BaseModel)
    Answer = TypeVar("Answer", bound=BaseModel)


def computed(
    request: dict[str, Any],
    asked: type[Asked],
    make: Callable[[Asked, Catalog, Standpoint], Answer | Sequence[FieldError]],
) -> Answer:
    """What `make` answers to the request; ends the command with the problem where it cannot be answered.

    Args:
        request: parsed from JSON and flags.
        asked: what it must be.
        make: the service of the room that answers.
    """
    from pydantic import ValidationError

    from service.catalog.catalog import load_catalog
    from service.estimates.batch import cannot_run, invalid
    from service.sites.standpoint import Standpoint

    try:
        valid = asked.model_validate(request)
    except ValidationError as error:
        fail_with(invalid(error).document())
    answer = make(valid, load_catalog(), Standpoint(shipped_forecaster()))
    if isinstance(answer, Sequence):
        fail_with(cannot_run(answer).document())
    return answer
