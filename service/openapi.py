"""The API's description, and the command that writes the committed copy: ``python -m service.openapi``."""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.problems import MEDIA_TYPE, ProblemDocument, Unprocessable, responses

COMMITTED = Path(__file__).parent.parent / "openapi" / "openapi.json"


def describe(app: FastAPI) -> dict[str, Any]:
    """The app's OpenAPI document, in which every validation error is a problem document, as it is when served."""
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description,
        routes=app.routes, tags=app.openapi_tags, license_info=app.license_info,
    )  # fmt: skip
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {ProblemDocument.__name__: problem}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    invalid = responses(Unprocessable)[Unprocessable.status]
    for path in document["paths"].values():
        for operation in path.values():
            answers = operation.get("responses", {})
            if "422" in answers and MEDIA_TYPE not in answers["422"].get("content", {}):
                answers["422"] = invalid
    return document


def render(app: FastAPI) -> str:
    """The document as committed: indented, keys in the order they are served."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes ``openapi/openapi.json``."""
    from service.app import create_app

    COMMITTED.parent.mkdir(exist_ok=True)
    COMMITTED.write_text(render(create_app()), encoding="utf-8")
    print(f"wrote {COMMITTED.name}")


if __name__ == "__main__":
    main()
