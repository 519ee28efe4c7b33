"""Deploy the example flows, or those named, to a process work pool: deploy.py FLOWS_DIR POOL [FILE:FLOW ...].

Prefect's settings are in the environment. Its imports take seconds, so it is started together with the server and waits for it itself.
"""

import sys
import time
import urllib.request

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL

FLOWS = ("nightly_report.py:nightly_report", "refresh_customer.py:refresh_customer")
WAIT_SECONDS = 120


def wait_for_server() -> None:
    """Return when the server answers for its database."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{PREFECT_API_URL.value()}/health", timeout=5) as answer:
                if answer.read() == b"true":
                    return
        except OSError as err:
            if time.monotonic() > deadline:
                sys.exit(f"no Prefect server after {WAIT_SECONDS} s: {err}")
        time.sleep(0.1)


def main(flows_dir: str, pool: str, *entrypoints: str) -> None:
    """Create the work pool and one deployment named prod of each flow."""
    loaded = [flow.from_source(source=flows_dir, entrypoint=entrypoint) for entrypoint in entrypoints or FLOWS]
    wait_for_server()
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"), overwrite=True)
    for each in loaded:
        each.deploy(name="prod", work_pool_name=pool, print_next_steps=False)


main(*sys.argv[1:])
