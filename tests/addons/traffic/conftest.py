from pathlib import Path

import pytest

from tests.addons.traffic.program import Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """In a home where nothing is recorded yet."""
    return Program(tmp_path)
