"""Deploy the example flows as their developer would, through the guard: deploy.py FLOWS_DIR POOL."""

import sys

from prefect import flow

FLOWS = ("nightly_report.py:nightly_report", "refresh_customer.py:refresh_customer")

for entrypoint in FLOWS:
    loaded = flow.from_source(source=sys.argv[1], entrypoint=entrypoint)
    loaded.deploy(name="prod", work_pool_name=sys.argv[2], print_next_steps=False, ignore_warnings=True)
print("deployed")
