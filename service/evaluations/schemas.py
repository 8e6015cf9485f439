"""What an evaluation is answered with: the shape is fixed, for other checks read it."""

from pydantic import BaseModel, Field


class Score(BaseModel):
    """Accuracy over some rows; fractions, not percent; null where there is nothing to say it of.

    The absolute percentage error of a row is |predicted - measured| / measured of its time per unit of work.
    """

    n: int = Field(0, description="Rows scored.")
    mape: float | None = Field(None, description="Mean absolute percentage error.")
    median_ape: float | None = Field(None, description="Median absolute percentage error.")
    bias: float | None = Field(None, description="Median ln(predicted / measured time): above 0, predicted too slow.")
    coverage_80: float | None = Field(None, description="Share of rows whose measured value lies in [p10, p90].")
    median_interval_ratio: float | None = Field(None, description="Median p90 / p10.")
    memory_n: int = Field(0, description="Rows with a measured peak memory.")
    memory_mape: float | None = Field(None, description="Mean absolute percentage error of peak memory.")
    memory_fit_share: float | None = Field(None, description="Of the rows that ran, the share predicted to fit.")


class SkippedRow(BaseModel):
    """A row that was not scored, and why."""

    row: int = Field(description="Line in the file; the header is 1.", examples=[17])
    reason: str = Field(description="Why.", examples=["hardware.accelerator: unknown accelerator 'H1000'"])


class Evaluation(BaseModel):
    """How well the current calibration predicts the given measurements."""

    rows: int = Field(description="Rows read.")
    scored: int = Field(description="Rows scored.")
    skipped: list[SkippedRow] = Field(description="Rows not scored.")
    overall: Score = Field(description="Over all scored rows.")
    by: dict[str, Score] = Field(description="By value of the chosen column.")
    calibration: str = Field(description="Version of the calibration.")
    note: str = Field(description="How to read it.")
