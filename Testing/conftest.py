"""What every room's tests share."""

from pathlib import Path

import pytest

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the repository, which none of them may be copied from."""
    if not _SHARED_DATA.is_dir():
        pytest.skip(f"the real images are not on this machine ({_SHARED_DATA})")
    return _SHARED_DATA
