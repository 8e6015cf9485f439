"""What Schemathesis must be told of this API: how NDJSON is written."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: object, value: Any) -> bytes:
    """A value as one line, a list as a line each."""
    rows = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
