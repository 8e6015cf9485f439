"""What is wrong with a request, as answers and clients say it; needs nothing of the server."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _whole_characters(said: str) -> str:
    return said.encode("utf-8", errors="replace").decode()


Said = Annotated[str, AfterValidator(_whole_characters)]
"""Text that may quote what was sent; halves of characters (lone surrogates), which no answer can be written with, are
question marks."""


class FieldError(BaseModel):
    """What is wrong with one field of the request, and what to do about it."""

    field: Said = Field(description="JSON path of the field.", examples=["hardware.accelerator"])
    message: Said = Field(description="What is wrong.", examples=["unknown accelerator 'H1000'"])
    hint: Said | None = Field(None, description="What would be right.", examples=["did you mean 'H100-SXM5-80GB'?"])


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"description": "A problem document (RFC 9457)."})

    type: str = Field(description="Names the kind of problem.", examples=["urn:traincast:problem:unprocessable"])
    title: str = Field(description="The kind of problem in words.", examples=["Unprocessable"])
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: Said = Field(
        description="What went wrong this time.", examples=["hardware.accelerator: unknown accelerator 'H1000'"]
    )
    request_id: str | None = Field(
        None, description="Names this request in the server's log.", examples=["6f1c2b7e9d0a4c58b3e2f1a09c8d7e6f"]
    )
    line: int | None = Field(
        None,
        description="In a batch: the line of NDJSON, or the place in the list, that it is about, counted from 1.",
        examples=[17],
    )
    errors: list[FieldError] = Field(default_factory=list, description="The fields at fault.")
