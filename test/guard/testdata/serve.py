"""Serve a flow from here, as a developer does on their own machine."""

import time

from prefect import flow, task
from prefect.variables import Variable


@task
def double(x: int) -> int:
    """Have something to report."""
    return 2 * x


@flow(name="served", log_prints=True)
def served(x: int = 1, seconds: float = 0) -> int:
    """Run a task and a flow within."""
    print(f"doubled: {double(x)}")
    print(f"variable: {Variable.get('missing', default='none')}")
    time.sleep(seconds)
    return within(x)


@flow(name="within")
def within(x: int) -> int:
    """Be a part of another."""
    return x


if __name__ == "__main__":
    served.serve(name="here", print_starting_message=False)
