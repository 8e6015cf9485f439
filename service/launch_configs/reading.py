"""What is made of a launch configuration: fields of the vocabulary, and each option with what became of it."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

NO_FIELD = "nothing here depends on it, or no field can say it"
NO_EFFECT = "no part of how long a step takes"


class LaunchConfigError(ValueError):
    """The text is no such configuration, or an option's value is none; the message says which and what would be."""


@dataclass(frozen=True, slots=True)
class Understood:
    """An option that was understood."""

    option: str
    field: str
    value: object


@dataclass(frozen=True, slots=True)
class Ignored:
    """An option that was not, and why."""

    option: str
    reason: str


@dataclass(slots=True)
class LaunchConfig:
    """A launch configuration as it was read.

    Attributes:
        fields: What it says, by dotted names of the vocabulary.
        defaults: What its framework does unless told otherwise, and nothing in it told.
        understood: Options that fields were taken from, in order.
        ignored: All other options, in order.
    """

    fields: dict[str, object] = field(default_factory=dict)
    defaults: dict[str, object] = field(default_factory=dict)
    understood: list[Understood] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)

    def take(self, option: str, name: str, value: object) -> None:
        """The option says this field."""
        self.fields[name] = value
        self.understood.append(Understood(option, name, value))

    def otherwise(self, **defaults: object) -> None:
        """What the framework does of `training` where the options say nothing."""
        named = {f"training.{name}": value for name, value in defaults.items()}
        self.defaults |= {name: value for name, value in named.items() if name not in self.fields}

    def ignore(self, option: str, reason: str = NO_FIELD) -> None:
        """The option says nothing that is used."""
        self.ignored.append(Ignored(option, reason))


def number(option: str, value: object) -> float:
    """The number that an option gives; a whole one as int. Raises `LaunchConfigError` for anything else."""
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        found = float(value)
        if not math.isfinite(found):
            raise ValueError
    except (ValueError, OverflowError):
        raise LaunchConfigError(f"{option}: {shown(value)} is no number") from None
    return int(found) if found.is_integer() else found


def positive(option: str, value: object) -> float:
    """As `number`, of a count. Raises `LaunchConfigError` for one that is not above zero."""
    found = number(option, value)
    if found <= 0:
        raise LaunchConfigError(f"{option}: {shown(value)} is not above 0")
    return found


def shown(value: object) -> str:
    """A value as a message quotes it: its start, if it is long."""
    try:
        written = repr(value)
    except ValueError:
        return "that"  # a whole number with more digits than Python writes
    return written if len(written) <= 80 else f"{written[:77]}..."


def json_object(text: str, what: str) -> dict[str, Any]:
    """The JSON object in the text. Raises `LaunchConfigError` for anything else; `what` it should be goes into that."""
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        raise LaunchConfigError(f"not JSON: {error}") from None
    except RecursionError:
        raise LaunchConfigError("not JSON that can be read: it is nested too deeply") from None
    if not isinstance(found, dict):
        raise LaunchConfigError(f"{what} is a JSON object")
    return found


def leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The options of nested objects by dotted path, in order; lists are options as a whole."""
    # A list of what waits, for files may be nested more deeply than calls may.
    waiting = [*tree.items()][::-1]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend((f"{path}.{name}", inner) for name, inner in [*value.items()][::-1])
        else:
            yield path, value
