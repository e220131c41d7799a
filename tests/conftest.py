"""Fixtures of several modules."""

import pytest


@pytest.fixture
def many_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests whose few lines hold a reject, which is not what they are about: no share of rejects is too large."""
    monkeypatch.setenv("LOADER_MAX_REJECT_SHARE", "100%")
