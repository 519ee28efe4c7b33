"""Refresh one customer's record: one typed parameter, for routes that bind it from the path or the body."""

from prefect import flow
from prefect.context import FlowRunContext


@flow(name="refresh-customer", log_prints=True)
def refresh_customer(customer_id: int) -> int:
    """Refresh the record of one customer and answer its id."""
    stamp = (FlowRunContext.get().flow_run.context or {}).get("kong_prefect")
    caller = stamp["caller"]["subject"] if stamp else "nobody the gateway knows"
    print(f"customer {customer_id} refreshed for {caller}")
    return customer_id


if __name__ == "__main__":
    refresh_customer(1)
