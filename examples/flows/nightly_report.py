"""A nightly report that knows who asked for it.

The gateway stamps the verified caller into the run's own context, which no API route changes afterwards,
so a flow reads it there and nowhere else: parameters and tags can be rewritten, this can't.
"""

import datetime

from prefect import flow
from prefect.context import FlowRunContext


@flow(name="nightly-report", log_prints=True)
def nightly_report(region: str, day: datetime.date | None = None, dry_run: bool = False) -> str:
    """Build the report of one region for one day (yesterday by default)."""
    run = FlowRunContext.get().flow_run
    stamp = (run.context or {}).get("kong_prefect")
    if stamp:
        caller = stamp["caller"]
        name = caller.get("name") or caller["subject"]
        print(f"called by: {name} ({caller['kind']})")
        print(f"roles: {', '.join(stamp.get('roles') or [])}; request: {stamp.get('request_id')}")
    else:
        print("called by: nobody the gateway knows")

    day = day or datetime.date.today() - datetime.timedelta(days=1)
    done = "would be written" if dry_run else "written"
    print(f"report of {region} for {day}: {done}")
    return f"{region}/{day}"


if __name__ == "__main__":
    nightly_report("emea", dry_run=True)
