"""Settings: all are documented, and nonsense is refused at the start with the variable's name and what it takes."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.settings import PREFIX, Settings, get_settings, misspelt

README = Path(__file__).parent.parent / "README.md"

WRONG = {
    "port": ("many", "99999"),
    "database_url": ("nonsense", "mysql://host/name", "postgresql://me@host:port/name"),
    "database_pool": ("0",),
    "body_limit_mb": ("-1", "nan", "inf"),
    "log_level": ("loud",),
    "log_format": ("xml",),
    "slow_query_seconds": ("0", "soon"),
    "tracing": ("perhaps",),
    "cors_origins": ("ours.example", "https://ours.example/page", "https://a.example,b"),
    "shutdown_seconds": ("-1", "0.5"),
    "calibrate_after": ("0",),
    "root_path": ("traincast", "/traincast/"),
    "trusted_proxies": ("proxy", "127.0.0.1,10.0.0"),
    "stream_limit_mb": ("0",),
    "import_rows": ("0",),
    "body_seconds": ("inf",),
    "stream_seconds": ("-1",),
    "stall_seconds": ("x",),
    "mcp": ("maybe",),
    "open_reading": ("maybe",),
    "anonymous_requests_per_minute": ("0",),
    "key_requests_per_minute": ("1e99",),
    "anonymous_budget_per_hour": ("-5",),
    "key_budget_per_hour": ("",),
}
ANY_TEXT = {"host", "home"}
"""Settings that only the system can refuse."""


def test_the_readme_lists_every_setting_and_no_other() -> None:
    section = README.read_text(encoding="utf-8").partition("\n## Settings\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(rf"`{PREFIX}(\w+)`", row)]
    assert sorted(listed) == sorted(name.upper() for name in Settings.model_fields)


def test_every_setting_is_tried_with_nonsense() -> None:
    assert set(WRONG) | ANY_TEXT == set(Settings.model_fields)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_setting_ends_the_start_with_its_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + name.upper(), value)
    get_settings.cache_clear()
    try:
        outcome = CliRunner().invoke(app, ["serve"])
    finally:
        get_settings.cache_clear()
    assert outcome.exit_code == 1
    assert f"{PREFIX}{name.upper()}: " in outcome.output
    assert "Traceback" not in outcome.output


def test_a_wrong_database_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINCAST_DATABASE_URL", "postgresql://me:secret@host:port/name")
    with pytest.raises(ValueError, match="no URL of a database"):
        Settings()
    monkeypatch.setenv("TRAINCAST_DATABASE_URL", "postgresql://me:secret@host/name")
    assert "secret" not in repr(Settings())


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize(
    "command", ["serve", "migrate", "seed", "export", "keys list", "keys create --team x --scope submit"]
)
def test_a_database_that_does_not_answer_is_said_in_a_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINCAST_DATABASE_URL", "postgresql://me:secret@127.0.0.1:9/none")
    get_settings.cache_clear()
    try:
        outcome = CliRunner().invoke(app, command.split())
    finally:
        get_settings.cache_clear()
    assert outcome.exit_code == 1
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("TRAINCAST_DATABASE_URL: ")
    assert "refused" in line
    assert "secret" not in line


def test_a_file_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRAINCAST_HOME", str(tmp_path / "file" / "home"))
    get_settings.cache_clear()
    try:
        outcome = CliRunner().invoke(app, ["serve"])
    finally:
        get_settings.cache_clear()
    assert outcome.exit_code == 1
    assert "TRAINCAST_HOME" in outcome.output


def test_a_misspelt_setting_is_named_with_the_one_that_was_meant() -> None:
    given = [
        "TRAINCAST_DATABSE_URL",
        "TRAINCAST_LOGLEVEL",
        "TRAINCAST_LOG_LEVEL",
        "TRAINCAST_URL",
        "TRAINCAST_KEY",
        "PATH",
    ]
    assert misspelt(given) == {
        "TRAINCAST_DATABSE_URL": "TRAINCAST_DATABASE_URL",
        "TRAINCAST_LOGLEVEL": "TRAINCAST_LOG_LEVEL",
    }
