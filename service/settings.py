"""Every setting of the service, read from ``TRAINCAST_*`` environment variables."""

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.database import driver_url

PREFIX = "TRAINCAST_"
ORIGIN = re.compile(r"https?://[^/\s,*]+")
"""A web origin (RFC 6454, section 6.2): scheme, host and port, no path."""


class Settings(BaseSettings):
    """The service's settings; each field is the environment variable ``TRAINCAST_<FIELD>``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, allow_inf_nan=False)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 lets the system choose.")
    home: Path = Field(
        default_factory=lambda: user_data_path("traincast"),
        description="Folder for the SQLite database.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; if unset, a file in the home folder.",
    )
    database_pool: int = Field(10, ge=1, description="PostgreSQL connections that one replica keeps.")
    body_limit_mb: float = Field(
        8.0, gt=0, description="Largest request body in 10^6 bytes, but for streamed NDJSON and CSV."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="How: JSON lines or plain text; auto is text at a terminal and JSON elsewhere."
    )
    slow_query_seconds: float = Field(
        0.5, gt=0, description="Queries that take longer are logged, without their parameters."
    )
    tracing: bool = Field(
        False, description="Whether OpenTelemetry spans are sent (extra `telemetry`; OTEL_* variables say where)."
    )
    cors_origins: str = Field(
        "", description="Origins, separated by commas, whose pages may call this service from a browser; * for all."
    )
    shutdown_seconds: int = Field(
        30, ge=1, description="How long a service that is asked to stop lets the requests it has taken finish."
    )
    calibrate_after: int | None = Field(
        None, ge=1, description="Newly usable submitted measurements that start a calibration; none do if unset."
    )
    root_path: str = Field("", description="Path prefix that a proxy in front strips.")
    trusted_proxies: str = Field(
        "127.0.0.1", description="Addresses, separated by commas, whose X-Forwarded-For is believed; * for all."
    )
    stream_limit_mb: float = Field(2000.0, gt=0, description="Largest streamed body in 10^6 bytes.")
    import_rows: int = Field(2_000_000, ge=1, description="Most rows of one import.")
    body_seconds: float = Field(60.0, gt=0, description="How long a body may take to arrive, seconds.")
    stream_seconds: float = Field(3600.0, gt=0, description="How long a streamed body may take to arrive, seconds.")
    stall_seconds: float = Field(30.0, gt=0, description="How long a client may send nothing of a body, seconds.")
    mcp: bool = Field(False, description="Whether the operations are served as tools of agents at /mcp (extra mcp).")
    open_reading: bool = Field(True, description="Whether callers without an API key may read and estimate.")
    anonymous_requests_per_minute: int = Field(
        12_000, ge=1, description="Requests a minute of one address without a key, at each replica."
    )
    key_requests_per_minute: int = Field(60_000, ge=1, description="Requests a minute of one key, at each replica.")
    anonymous_budget_per_hour: int = Field(
        2_000_000,
        ge=1,
        description="What an address without a key may spend an hour on batches (1 a line), saving (20), offers (10), "
        "learning (50 a row) and plans (30 for each number of each chip), at each replica.",
    )
    key_budget_per_hour: int = Field(100_000_000, ge=1, description="The same of one key.")

    @field_validator("database_url")
    @classmethod
    def _a_database_that_is_known(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            driver_url(url.get_secret_value())
        return url

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, listed: str) -> str:
        for origin in _items(listed):
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: use https://HOST or https://HOST:PORT, or * for all")
        return listed

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, listed: str) -> str:
        for address in _items(listed):
            try:
                if address != "*":
                    ip_network(address)
            except ValueError:
                message = f"{address!r} is no address: use 10.0.0.7 or a network as 10.0.0.0/8, or * for all"
                raise ValueError(message) from None
        return listed

    @field_validator("root_path")
    @classmethod
    def _a_prefix(cls, path: str) -> str:
        if path and (not path.startswith("/") or path.endswith("/")):
            raise ValueError("a path prefix starts with a slash and ends without, such as /traincast")
        return path

    @property
    def database(self) -> str:
        """The database's URL, password included."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.home / 'traincast.sqlite3').absolute()}"


def _items(listed: str) -> list[str]:
    return [item.strip() for item in listed.split(",") if item.strip()]


def misspelt(variables: Iterable[str]) -> dict[str, str]:
    """Environment variables that are no setting, and the setting that each most likely means."""
    settings = [PREFIX + name.upper() for name in Settings.model_fields]
    meant = {
        name: difflib.get_close_matches(name.upper(), settings, n=1, cutoff=0.9)
        for name in variables
        if name.upper().startswith(PREFIX) and name.upper() not in settings
    }
    return {name: close[0] for name, close in meant.items() if close}


@lru_cache
def get_settings() -> Settings:
    """The process's settings, read from the environment once."""
    return Settings()
