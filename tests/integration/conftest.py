"""What modules over the API share, unless they have one of their own: an API on the servers that all tests share, and its projection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api import PARTITIONS, Api, installed
from tests.support.projected import Projected


@pytest.fixture(scope="module")
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API on the servers that the tests share."""
    with installed(kafka, valkey_url) as found:
        yield found


@pytest.fixture(scope="module")
def projected(api: Api, valkey_url: str) -> Projected:
    """The projection of that API, complete and empty."""
    found = Projected(valkey_url, api.settings.redis_prefix, PARTITIONS)
    found.mark()
    return found
