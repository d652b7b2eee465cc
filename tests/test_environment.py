"""The recipes that set the course up elsewhere: conda, Binder, the lock, CI."""

import os
import re
import subprocess
import sys
import tomllib

import pytest


def test_environment_yml_is_understood_by_conda_s_own_parser(repository):
    rattler = pytest.importorskip("rattler")
    yaml = pytest.importorskip("yaml")
    environment = yaml.safe_load((repository / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    specs = {spec.name.normalized: spec for spec in map(rattler.MatchSpec, conda)}
    assert set(specs) == {"python", "pip", "make"}
    for version in ("3.11", "3.12", "3.13"):
        assert rattler.VersionSpec(str(specs["python"].version)).matches(rattler.Version(version))
    assert pip == {"pip": ["-r requirements.lock"]}, "conda users get the versions of the lock"


@pytest.mark.skipif(sys.platform != "linux", reason="repo2docker runs on Linux")
def test_binder_recipe_is_understood_by_repo2docker(repository):
    done = subprocess.run(
        [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(repository)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )
    recipe = done.stdout + done.stderr
    assert done.returncode == 0, recipe
    assert 'pip install --no-cache-dir -r "binder/requirements.txt"' in recipe
    assert "RUN ./binder/postBuild" in recipe
    assert "RUN chmod +x binder/postBuild" in recipe
    assert re.search(r"python[=-]3\.12|py3\.12|PYTHON_VERSION=3\.12", recipe), "not Python 3.12"


def test_binder_installs_the_lock(repository):
    target = (repository / "binder" / "requirements.txt").read_text().removeprefix("-r ").strip()
    assert (repository / "binder" / target).resolve() == repository / "requirements.lock"


def test_lock_pins_every_dependency_with_hashes_and_names_no_index(repository):
    lock = (repository / "requirements.lock").read_text()
    assert "://" not in lock
    assert "index-url" not in lock
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", lock, flags=re.M).strip())
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    locked = {re.match(r"[\w.-]+", entry)[0].lower().replace("_", "-") for entry in entries}
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in ("cpu", "course", "dev"):
        wanted += project["optional-dependencies"][extra]
    missing = {re.match(r"[\w.-]+", spec)[0].lower() for spec in wanted} - locked
    assert not missing, f"run `make lock`: {missing}"
    assert "torch" not in locked


def test_ci_calls_the_readme_s_own_test_command(repository):
    readme = (repository / "README.md").read_text()
    ci = (repository / ".ci" / "run").read_text()
    assert re.search(r"^make course\b", readme, flags=re.M)
    assert re.search(r"^make test\b", readme, flags=re.M)
    assert "exec make test" in ci
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((repository / ".github" / "workflows" / "test.yml").read_text())
    job = workflow["jobs"]["test"]
    assert job["strategy"]["matrix"]["python-version"] == ["3.11", "3.12", "3.13"]
    assert any(step.get("run") == "bash .ci/run" for step in job["steps"])
