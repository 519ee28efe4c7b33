"""Deploys the example flows to the work pool "local", under the names that kong.yml starts."""

from prefect import flow

ENTRYPOINTS = {
    "nightly_report.py:nightly_report": "prod",
    "refresh_customer.py:refresh_customer": "prod",
}

for entrypoint, name in ENTRYPOINTS.items():
    flow.from_source(source="/flows", entrypoint=entrypoint).deploy(name=name, work_pool_name="local", print_next_steps=False)
