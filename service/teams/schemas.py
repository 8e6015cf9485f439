"""The audit as the API shows it."""

import datetime
from typing import Any

from pydantic import BaseModel, Field


class AuditEntry(BaseModel):
    """Who did what, to what, and when."""

    at: datetime.datetime = Field(description="When, UTC.", examples=["2026-08-01T12:00:00Z"])
    team_id: str | None = Field(
        description="Whose key acted; null for the service itself and its command line.", examples=["t_5f2b8c1e"]
    )
    key_id: str | None = Field(description="The key that acted.", examples=["k_81c0d5aa"])
    action: str = Field(description="What was done.", examples=["measurement.withdraw", "key.revoke"])
    subject: str = Field(description="Id of what it was done to.", examples=["m_2f1d0c9b8a7e6f5d4c3b2a19"])
    detail: dict[str, Any] | None = Field(description="What else there is to say.", examples=[{"was": "accepted"}])


class AuditPage(BaseModel):
    """Some entries, newest first, and where the next ones start."""

    items: list[AuditEntry] = Field(description="The entries.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next ones; null: these were the last.", examples=["SDEwMC1TWE01LTgwR0I"]
    )
