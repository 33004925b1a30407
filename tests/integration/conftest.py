"""What the tests of this folder share: one cluster, and the model that plays recorded conversations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cluster import Cluster, running
from tests.integration.recorded import Provider


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.server.shutdown()


@pytest.fixture(scope="session")
def cluster(provider, tmp_path_factory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster"), provider.models()) as made:
        yield made
