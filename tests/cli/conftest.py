"""What tests of several commands share."""

from pathlib import Path

import pytest

from tests.tiny import tiny_bundle


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a tiny untrained model under the name of the default one."""
    folder = tmp_path_factory.mktemp("weights")
    tiny_bundle(folder / "mini")
    return folder
