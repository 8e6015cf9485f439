"""The service does what its description promises, whatever is sent: a short run of `make fuzz-api`."""

from pathlib import Path

import pytest

from tests.fuzz.api import attack


@pytest.mark.slow
def test_the_description_holds(tmp_path: Path) -> None:
    assert attack(f"sqlite:///{tmp_path}/api.sqlite3", 5, "examples,fuzzing,stateful", "--seed", "1") == 0
