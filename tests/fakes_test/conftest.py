"""A fresh fake for each test (a millisecond to start), a client for it, and somebody who is signed in."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.control import loopback_client
from tests.fakes.openai import FakeOpenAI


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with loopback_client() as client:
        yield client


@pytest.fixture
def tokens(fake: FakeOpenAI) -> dict[str, Any]:
    """Ada's, as her auth.json has them."""
    document: dict[str, Any] = fake.control.login("ada@example.com")["tokens"]
    return document


@pytest.fixture
def ada(tokens: dict[str, Any]) -> dict[str, str]:
    """The headers of a request of hers."""
    return {"authorization": f"Bearer {tokens['access_token']}", "chatgpt-account-id": tokens["account_id"]}
