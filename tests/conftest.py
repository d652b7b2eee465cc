"""What several test modules share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

# The same examples in every run: a failure is there for everyone, or for no one.
settings.register_profile("medlib", derandomize=True)
settings.load_profile("medlib")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real images; the test is skipped on a machine that has none."""
    folder = Path(os.environ.get("MEDLIB_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real images: set MEDLIB_TEST_DATA to a folder with busi/ and medmnist/")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Keep tests away from the user's settings."""
    monkeypatch.delenv("MEDLIB_DATA", raising=False)
