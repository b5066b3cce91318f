from pathlib import Path

import pytest

from common.cli.base import packaged_file
from common.errors import DataError


def test_a_checkout_uses_the_file_at_its_top():
    assert packaged_file("setup.cfg") == Path(__file__).resolve().parents[3] / "setup.cfg"


def test_a_missing_file_is_an_error_with_its_places():
    with pytest.raises(
        DataError, match=r"Expected: 'absent.yaml' at .*absent.yaml.*Install dcase-keras again"
    ):
        packaged_file("absent.yaml")
