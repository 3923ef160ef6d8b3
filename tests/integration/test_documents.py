"""Both published OpenAPI documents, with requests that they allow and that they do not: every answer is one that the document has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.support.api import PARTITIONS, Api, installed
from tests.support.ingest import Ingest, running
from tests.support.projected import Projected

EXAMPLES: Final = int(os.environ.get("ROLLCALL_TEST_REQUESTS", "2"))
"""Requests of each kind to each operation: few, for making one that is wrong takes 0.2 s; more on demand."""
UNANSWERED: Final = "the segmenter cannot tell"
"""What a question is answered with 503, for no segmenter runs here."""


@pytest.fixture(scope="module")
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API with a segment and a customer."""
    with installed(kafka, valkey_url, api_question_timeout_s=0.1) as found:
        projected = Projected(valkey_url, found.settings.redis_prefix, PARTITIONS)
        projected.mark()
        found.segment("regulars")
        projected.row("demo", "718", ["regulars"])
        yield found


@pytest.fixture(scope="module")
def ingest(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """An ingest process."""
    with running(kafka, tmp_path_factory.mktemp("ingest")) as found:
        yield found


def unlike(url: str, key: str, document: dict[str, Any], mode: GenerationMode) -> set[str]:
    """Send requests to every operation of a document, such as it allows or (`mode`) such as it does not; return what it does not say."""
    found: set[str] = set()
    result: Any
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        # What takes nothing cannot be asked wrongly.
        with suppress(Unsatisfiable):
            ask(url, key, result.ok(), mode, found)
    return found


def ask(url: str, key: str, operation: Any, mode: GenerationMode, found: set[str]) -> None:
    """Send requests to one operation and add the answers that its documentation does not have."""
    documented = operation.definition.raw["responses"]

    @settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def once(case: Any) -> None:
        response = case.call(base_url=url, headers={"Authorization": f"Bearer {key}"})
        if str(response.status_code) not in documented or (response.status_code >= 500 and UNANSWERED not in response.text):
            found.add(f"{operation.label}: {response.status_code} {response.text[:200]}")

    once()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_api_answers_what_its_document_says(api: Api, mode: GenerationMode) -> None:
    """Whatever is sent, the status is one that the operation documents, and no fault."""
    assert not unlike(api.url, "all", api.get("/openapi.json", key="").json(), mode)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_ingest_answers_what_its_document_says(ingest: Ingest, mode: GenerationMode) -> None:
    """Whatever is sent, the status is one that the operation documents, and no fault."""
    assert not unlike(ingest.url, "writer", ingest.get("/openapi.json").json(), mode)
