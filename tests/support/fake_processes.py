"""A table of small processes for tests of the launcher: two Python HTTP servers, the second waiting for the first.

ROLLCALL_FAKE_BROKEN names one that cannot start, ROLLCALL_FAKE_SLOW one that dies after a second without having been ready, and
ROLLCALL_FAKE_MISSING one that the table does not have.
The ports are kept like the real ones.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from deploy.local.layout import Layout, contained
from deploy.local.ports import HOST, settle
from deploy.local.probes import http_ready
from deploy.local.process import ProcessSpec


def table(layout: Layout, environ: Mapping[str, str]) -> list[ProcessSpec]:
    """Give the two processes, `first` and `second`."""
    ports = settle(layout.ports, environ)
    env = contained(environ, layout)
    site = layout.home / "site"
    specs = []
    for name, setting, after in (("first", "ROLLCALL_API_PORT", ()), ("second", "ROLLCALL_INGEST_PORT", ("first",))):
        serve = ("-m", "http.server", str(ports[setting]), "--bind", HOST, "--directory", str(site))
        broken = ("-c", "import sys; sys.exit('the setting is wrong')")
        slow = ("-c", "import sys, time; time.sleep(1); sys.exit('it took too long')")
        chosen = broken if environ.get("ROLLCALL_FAKE_BROKEN") == name else slow if environ.get("ROLLCALL_FAKE_SLOW") == name else serve
        specs.append(
            ProcessSpec(
                name=name,
                argv=(sys.executable, *chosen),
                env=env,
                ready=http_ready(HOST, ports[setting], "/"),
                after=after,
                prepare=lambda: site.mkdir(exist_ok=True),
                ports={setting: ports[setting]},
                cwd=layout.home,
                ready_s=3.0 if environ.get("ROLLCALL_FAKE_SLOW") else 60.0,
            )
        )
    return [spec for spec in specs if spec.name != environ.get("ROLLCALL_FAKE_MISSING")]
