"""What the service is installed and deployed with: locks, image, composition, continuous integration."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "server.lock", "bench.lock")


def locked(name: str) -> dict[str, str]:
    """A lock's packages and their text: version, marker, hashes."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return {
        entry.partition("==")[0]: entry
        for entry in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)
        if "==" in entry
    }


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_registry_and_no_machine(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host", text)
    assert not re.search(r"(^|\s)/\w", text), "an absolute path"


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(name: str) -> None:
    packages = locked(name)
    assert len(packages) > 30
    for package, entry in packages.items():
        assert re.match(r"[a-z0-9-]+==\S+", entry), package
        assert "--hash=sha256:" in entry, package


def test_the_locks_hold_all_that_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    served = [*project["dependencies"], *extras["server"], *extras["mcp"], *extras["telemetry"]]
    for lock, asked in (
        ("requirements.lock", [*served, *extras["build"], *extras["dev"]]),
        ("server.lock", [*served, *extras["build"]]),
        ("bench.lock", [*served, *extras["bench"]]),
    ):
        wanted = {re.split(r"[\[>=<]", requirement)[0].lower() for requirement in asked}
        assert wanted <= set(locked(lock)), f"{lock} is stale: run `make lock`"


def test_the_image_runs_what_the_tests_ran() -> None:
    tested = locked("requirements.lock")
    for package, entry in locked("server.lock").items():
        assert entry.split()[0] == tested[package].split()[0], f"{package} differs: run `make lock`"


def test_a_training_job_installs_little() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {re.split(r"[>=<]", requirement)[0] for requirement in project["dependencies"]} == {
        "httpx",
        "pydantic",
        "stamina",
    }


def test_the_image_passes_its_linter() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    outcome = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout


def test_the_image_is_not_run_by_root_and_knows_its_health() -> None:
    final_stage = (ROOT / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*$", final_stage, re.MULTILINE)
    assert "HEALTHCHECK" in final_stage


@pytest.fixture(scope="module")
def composition() -> PyCompose:
    """The deployment, read by a validator of the Compose specification."""
    return PyCompose.from_yaml((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def test_the_deployment_is_valid(composition: PyCompose) -> None:
    composition.validate()
    assert sorted(composition.service_names()) == ["database", "migration", "proxy", "service"]


def test_the_deployment_has_two_replicas_that_wait_for_the_migration() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["service"]
    assert service["deploy"]["replicas"] == 2
    assert service["depends_on"]["migration"]["condition"] == "service_completed_successfully"


def test_the_deployment_holds_no_secret() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    passwords = [
        value
        for service in services.values()
        for name, value in service.get("environment", {}).items()
        if "PASSWORD" in name
    ]
    assert len(passwords) == 3
    for password in passwords:
        assert re.fullmatch(r"\$\{TRAINCAST_DATABASE_PASSWORD:\?.+\}", password)


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test" in script.read_text(encoding="utf-8")


def test_the_package_carries_its_migrations_data_and_types(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {"service/migrations/env.py", "service/data/sources.csv", "service/py.typed"} <= held
    assert {name.split("/")[0] for name in held if ".dist-info" not in name} == {"service"}
