"""Keeps what measures a run from ever ending it."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

logger = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")


def harmless(method: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """The method, but that what it raises is logged: hours of training are worth more than one measurement."""

    @functools.wraps(method)
    def tried(*arguments: Arguments.args, **named: Arguments.kwargs) -> None:
        try:
            method(*arguments, **named)
        except Exception as error:
            logger.warning("traincast: %s failed, training goes on: %s", method.__name__, error, exc_info=True)

    return tried
