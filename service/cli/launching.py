"""Files that other frameworks launch a run with, as `traincast estimate` takes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli.words import fail, text_of

if TYPE_CHECKING:
    from service.launch_configs import LaunchConfig

PANEL = "From another framework's files"
"""Where `--help` lists these options."""


@dataclass(frozen=True)
class Launched:
    """A file and what was made of it."""

    file: Path
    kind: str
    config: LaunchConfig


def launch_configs(**files: Path | None) -> list[Launched]:
    """Reads the files that were given, by the framework's name; ends the command where one cannot be read."""
    given = {kind: file for kind, file in files.items() if file is not None}
    if not given:
        return []
    from service.launch_configs import READERS, LaunchConfigError

    read = []
    for kind, file in given.items():
        try:
            read.append(Launched(file, kind, READERS[kind](text_of(file))))
        except LaunchConfigError as error:
            fail(f"--from-{kind} {file}: {error}")
        except RecursionError:
            fail(f"--from-{kind} {file}: nested too deeply")
    return read


def listed(launched: list[Launched]) -> list[dict[str, Any]]:
    """What was understood and what was ignored, for JSON."""
    return [
        {
            "file": str(one.file),
            "kind": one.kind,
            "defaults": one.config.defaults,
            "understood": [asdict(item) for item in one.config.understood],
            "ignored": [asdict(item) for item in one.config.ignored],
        }
        for one in launched
    ]


def show(launched: list[Launched]) -> None:
    """What was understood and what was ignored, as tables on standard error."""
    from service import rendering

    for one in launched:
        rendering.console(stderr=True).print(rendering.launch_config(str(one.file), one.config))
