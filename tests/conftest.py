"""Shared by all tests: few threads, no logged errors, and the real clips where they are."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is read from or written to the folders of the user who runs the tests."""
    for name in ("EVE_STATE", "EVE_CACHE"):
        os.environ[name] = str(tmp_path_factory.mktemp(name.lower()))


@pytest.fixture(autouse=True)
def _no_logged_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    logged = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert not logged, f"errors were logged: {[record.getMessage() for record in logged]}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips and photos; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("EVE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the shared test data is not here (set EVE_SHARED_DATA to its folder)")
    return folder
