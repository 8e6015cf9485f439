"""A client that a generator makes of the API's description talks to the running service."""

import importlib
import json
import subprocess
import sys
from typing import Any

import httpx
import pytest


@pytest.fixture(scope="module")
def generated(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The package that openapi-python-client makes of what the service says of itself."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_bytes(client.get("/openapi.json").content)
    (folder / "config.json").write_text(json.dumps({"post_hooks": []}))
    command = ["openapi_python_client", "generate", "--path", "openapi.json", "--config", "config.json"]
    command += ["--meta", "none", "--output-path", "generated_traincast"]
    subprocess.run([sys.executable, "-m", *command], cwd=folder, check=True, capture_output=True)
    sys.path.insert(0, str(folder))
    yield importlib.import_module
    sys.path.remove(str(folder))


@pytest.mark.slow_on("postgresql")
def test_a_generated_client_estimates_and_reads(generated: Any, client: httpx.Client) -> None:
    api = generated("generated_traincast")
    models = generated("generated_traincast.models")
    service = api.Client(base_url=str(client.base_url))
    asked = {
        "model": {"name": "resnet-50"},
        "hardware": {"accelerator": "V100-SXM2-16GB", "count": 8},
        "training": {"precision": "fp16", "global_batch": 2048},
    }
    create = generated("generated_traincast.api.estimates.create_estimate")
    made = create.sync(client=service, body=models.EstimateRequest.from_dict(asked))
    assert (
        made.throughput.samples_per_second.p50
        == client.post("/v1/estimates", json=asked).json()["throughput"]["samples_per_second"]["p50"]
    )
    wrong = models.EstimateRequest.from_dict({"model": {"name": "resnet-50"}, "hardware": {"accelerator": "V1000"}})
    refused = create.sync(client=service, body=wrong)
    assert refused.errors[0].field == "hardware.accelerator"
    listed = generated("generated_traincast.api.catalogs.list_models")
    assert listed.sync(client=service, q="llama 3 8b", limit=1).items[0].name == "llama-3-8b"
