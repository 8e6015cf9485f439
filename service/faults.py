"""What is wrong with a field, as answers and clients say it; needs nothing of the server."""

from pydantic import BaseModel, Field


class FieldError(BaseModel):
    """What is wrong with one field of the request, and what to do about it."""

    field: str = Field(description="JSON path of the field.", examples=["hardware.accelerator"])
    message: str = Field(description="What is wrong.", examples=["unknown accelerator 'H1000'"])
    hint: str | None = Field(None, description="What would be right.", examples=["did you mean 'H100-SXM5-80GB'?"])
