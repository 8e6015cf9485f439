"""What submitting and deciding are asked with and answered with."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.faults import FieldError
from service.field_types import Plain
from service.measurements.schemas import MeasurementEntry

Mode = Literal["best_effort", "atomic", "check"]
Outcome = Literal["accepted", "quarantined", "duplicate", "refused", "restored"]


class Submitted(MeasurementEntry):
    """A measurement as it was stored."""

    duplicate: bool = Field(
        False, description="Whether the team had submitted the same before; what is shown is what it submitted then."
    )
    warnings: list[str] = Field(
        default_factory=list,
        description="What was asked otherwise than it was stored before, and how to change it.",
        examples=[["visibility: it was stored as team; withdraw it and submit it anew to share it"]],
    )


class ImportedRow(BaseModel):
    """What became of one row of an import."""

    row: int = Field(description="Line in the file; a CSV header is 1.", examples=[17])
    outcome: Outcome = Field(description="Stored and used, stored and kept aside, known already, or not stored.")
    id: str | None = Field(
        None,
        description="Its id; of a duplicate, that of the first. A checked row has none yet.",
        examples=["m_2f1d0c9b8a7e6f5d4c3b2a19"],
    )
    reason: str | None = Field(
        None,
        description="Why it was kept aside or refused; of a duplicate, what stays otherwise than it was asked.",
        examples=["hardware.accelerator: is required"],
    )
    errors: list[FieldError] | None = Field(None, description="The fields at fault, where it was refused.")


class ImportReport(BaseModel):
    """What became of an import; every row that is reported stored is on disk (of a check: what would become of it)."""

    mode: Mode = Field(description="atomic: all or nothing; best_effort: each row on its own; check: none is stored.")
    rows: int = Field(description="Rows read.", examples=[1200])
    accepted: int = Field(0, description="Stored and used.", examples=[1187])
    quarantined: int = Field(0, description="Stored and kept out of the shared fit until vouched for.", examples=[8])
    duplicate: int = Field(0, description="Submitted by the team before; not stored again.", examples=[3])
    refused: int = Field(0, description="Not stored: wrong or impossible.", examples=[2])
    restored: int = Field(0, description="Stored as they were exported (restore).", examples=[0])
    items: list[ImportedRow] = Field(
        description="What became of each row, in order; of long imports only rows that were not accepted, and not all."
    )
    omitted: int = Field(0, description="Rows that are counted above and not listed.", examples=[0])


class Decision(BaseModel):
    """A curator's or administrator's decision."""

    model_config = ConfigDict(extra="forbid")

    reason: Plain | None = Field(
        None,
        max_length=2000,
        description="Why, for the audit and for who submitted it.",
        examples=["the log was checked"],
    )


class PurgeOrder(BaseModel):
    """Why a measurement is erased."""

    model_config = ConfigDict(extra="forbid")

    reason: Plain = Field(
        min_length=1,
        max_length=2000,
        description="The legal ground; kept in the audit.",
        examples=["erasure asked for under Article 17 GDPR"],
    )
