"""Errors as a person reads them."""

import pytest

from soradit.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("bad"), "bad"),
        (ValueError("\n  bad\nworse\n"), "bad"),
        (ValueError(), "ValueError"),
        (OSError(" \n"), "OSError"),
    ],
)
def test_an_error_in_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
