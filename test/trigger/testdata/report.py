"""A flow with every kind of parameter. Run, it prints the schema that Prefect makes of it."""

import datetime
import json
from typing import Literal

from prefect import flow
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel, Field


class Filters(BaseModel):
    """What is left out of the report."""

    states: list[str] = []
    above: float = Field(0, ge=0)


@flow(name="report")
def report(
    region: Literal["emea", "apac"],
    day: datetime.date | None = None,
    limit: int | None = None,
    ids: list[int] = [],
    dry_run: bool = False,
    filters: Filters = Filters(),
    mode: str = "fast",
    requested_by: str = "nobody",
    groups: list[str] = [],
) -> None:
    """Makes a report of a region.

    Args:
        region: where
        limit: the most lines it may have
    """


print(json.dumps(parameter_schema(report).model_dump()))
