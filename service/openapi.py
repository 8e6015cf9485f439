"""The API's description, and the command that writes the committed copy: ``python -m service.openapi``."""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.problems import (
    MEDIA_TYPE,
    BadRequest,
    NotReady,
    ProblemDocument,
    RequestTimeout,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unprocessable,
    UnsupportedMediaType,
    responses,
)
from service.security import BEARER

COMMITTED = Path(__file__).parent.parent / "openapi" / "openapi.json"

TAGS = {
    "estimates": "How long a training run takes, and its throughput, memory, cost, energy and carbon: one run, many, "
    "or one that was saved. Open to everybody unless the service is closed.",
    "plans": "On which chips, how many of them and laid out how a run is quickest, cheapest or takes the least energy.",
    "sweeps": "One or two fields of a run varied: points, and curves ready to plot.",
    "offers": "Where a run is cheapest, or emits least: every known price of its chips.",
    "levers": "What would shorten a run, each change with its predicted effect and what it trades away.",
    "measurements": "What was measured: find, export, submit, import, decide on, withdraw. Whoever submits needs a key "
    "with the scope `submit`; what is submitted changes the team's own predictions within seconds.",
    "sites": "Where a team has measured, and what that changes in its predictions.",
    "calibrations": "What everybody is predicted by: the one in use with its accuracy on sources it had not seen, its "
    "coefficients and its measurements; fitting a new one (scope `calibrate`), and going back.",
    "evaluations": "How well the calibration in use predicts given measurements. Nothing is stored.",
    "catalogs": "Reference data with its sources: accelerators, models, data sets, links, prices, grids.",
    "audit": "Who did what.",
    "health": "Whether the service lives, is ready, and how it fares.",
}
"""What each group of operations is for, in the order the documentation shows them."""

ANY_CALL = (Unauthorized, TooManyRequests, NotReady)
ANY_BODY = (BadRequest, RequestTimeout, TooLarge, UnsupportedMediaType)
"""What the middleware around all operations may answer in their place."""


def describe(app: FastAPI) -> dict[str, Any]:
    """The app's OpenAPI document, in which every validation error is a problem document, as it is when served."""
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description,
        routes=app.routes, tags=_tags(), license_info=app.license_info,
    )  # fmt: skip
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {ProblemDocument.__name__: problem}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    invalid = responses(Unprocessable)[Unprocessable.status]
    for address, path in document["paths"].items():
        path_takes_keys = address.startswith("/v1/")
        for operation in path.values():
            if path_takes_keys:
                # Of what anybody may read too: a closed service wants it there, and a team's own effects come with it.
                operation.setdefault("security", [{}, {BEARER.scheme_name: []}])
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and (examples := parameter["schema"].get("examples")):
                    # What must be given is there to be tried; optional ones are left for the reader to fill.
                    parameter["example"] = examples[0]
            answers = operation.setdefault("responses", {})
            in_their_place = (*ANY_CALL, *(ANY_BODY if "requestBody" in operation else ())) if path_takes_keys else ()
            answers |= {
                str(status): one for status, one in responses(*in_their_place).items() if str(status) not in answers
            }
            if MEDIA_TYPE not in answers.get("422", {}).get("content", {}):
                # FastAPI's own, or none: yet a query parameter that the operation lacks is refused.
                answers["422"] = invalid
    return document


def _tags() -> list[dict[str, str]]:
    return [{"name": name, "description": text} for name, text in TAGS.items()]


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
