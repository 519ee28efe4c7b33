"""Examine runs as Prefect's own client reads them: examine.py RUN_ID ... prints what is wrong with each, as JSON."""

import json
import sys
from uuid import UUID

from prefect.client.orchestration import get_client

from kong_prefect import StampError, examine
from kong_prefect._keys import keys_of_environment


def main(*run_ids: str) -> None:
    """Print the codes of all findings by run."""
    found: dict[str, list[str]] = {}
    with get_client(sync_client=True) as client:
        for run_id in run_ids:
            try:
                examine(client.read_flow_run(UUID(run_id)), keys_of_environment())
                found[run_id] = []
            except StampError as err:
                found[run_id] = list(err.codes)
    print(json.dumps(found))


main(*sys.argv[1:])
