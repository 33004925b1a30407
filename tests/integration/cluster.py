"""The four services as one cluster (nkictl up), for tests that need no cluster of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

NKICTL = Path(os.environ["NKI_BUILD_DIR"]) / "services" / "nkictl" / "nkictl"


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Running services, by their binaries' names, and a folder that tests may write into."""

    services: dict
    folder: Path

    def grpc(self, service: str) -> str:
        """Host and port."""
        return self.services[service]["grpc"]

    def metrics(self, service: str) -> str:
        """What the service tells Prometheus now."""
        with urllib.request.urlopen(self.services[service]["metrics"], timeout=10) as answer:
            return answer.read().decode()


@contextlib.contextmanager
def running(folder: Path, models: str) -> Iterator[Cluster]:
    """A cluster whose gateway knows the models of this YAML. It must drain when it is done."""
    (folder / "models.yaml").write_text(models)
    environment = dict(os.environ, OPENAI_API_KEY="sk-recorded", TMPDIR=str(folder))
    flags = ["--json", "--work-dir", folder / "work", "--models-file", folder / "models.yaml"]
    with open(folder / "up.log", "w") as log:
        up = subprocess.Popen(
            [NKICTL, *flags, "up", "--any-port"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        line = up.stdout.readline()
        if not line:
            up.wait(timeout=60)
            raise RuntimeError((folder / "up.log").read_text())
        try:
            yield Cluster(json.loads(line)["services"], folder)
        finally:
            up.terminate()
            assert up.wait(timeout=60) == 0
