"""A ComfyUI to talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.review.conftest import browser, tab  # noqa: F401  # fixtures
from tests.trained.fake import Fake, served


@pytest.fixture
def comfy() -> Iterator[Fake]:
    with served(Fake()) as fake:
        yield fake
