"""What an evaluation is answered with: the shape is fixed, for other checks read it."""

from pydantic import BaseModel, Field


class Score(BaseModel):
    """Accuracy over some rows; fractions, not percent; null where there is nothing to say it of.

    The absolute percentage error of a row is |predicted - measured| / measured of its time per unit of work.
    """

    n: int = Field(0, description="Rows scored.", examples=[1])
    mape: float | None = Field(None, description="Mean absolute percentage error.", examples=[0.363])
    median_ape: float | None = Field(None, description="Median absolute percentage error.", examples=[0.363])
    bias: float | None = Field(
        None, description="Median ln(predicted / measured time): above 0, predicted too slow.", examples=[0.31]
    )
    coverage_80: float | None = Field(
        None, description="Share of rows whose measured value lies in [p10, p90].", examples=[1]
    )
    median_interval_ratio: float | None = Field(None, description="Median p90 / p10.", examples=[1.89])
    memory_n: int = Field(0, description="Rows with a measured peak memory.", examples=[1])
    memory_mape: float | None = Field(
        None, description="Mean absolute percentage error of peak memory.", examples=[0.369]
    )
    memory_fit_share: float | None = Field(
        None, description="Of the rows that ran, the share predicted to fit.", examples=[1]
    )


class SkippedRow(BaseModel):
    """A row that was not scored, and why."""

    row: int = Field(description="Line in the file; the header is 1.", examples=[17])
    reason: str = Field(description="Why.", examples=["hardware.accelerator: unknown accelerator 'H1000'"])


class Evaluation(BaseModel):
    """How well the current calibration predicts the given measurements."""

    rows: int = Field(description="Rows read.", examples=[200])
    scored: int = Field(description="Rows scored.", examples=[198])
    skipped: list[SkippedRow] = Field(description="Rows not scored.")
    overall: Score = Field(description="Over all scored rows.")
    by: dict[str, Score] = Field(description="By value of the chosen column.")
    calibration: str = Field(description="Version of the calibration.", examples=["ea19f40dc149"])
    note: str = Field(description="How to read it.", examples=["Each row is predicted as a new site would be."])
