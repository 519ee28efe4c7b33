"""The caller of the run that this code is part of."""

from __future__ import annotations

import os
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext, TaskRunContext

from ._caller import Caller
from ._errors import RoleRequired
from ._examine import examine
from ._keys import KeySource, keys_of_environment

STAMP_HEADER = "Kong-Prefect-Stamp"
TRACE_LABEL = "__OTEL_TRACEPARENT"


def current_caller(*, keys: KeySource | None = None) -> Caller:
    """The verified caller of the run, inside a flow or a task.

    `keys` are the gateway's, by default those that KONG_PREFECT_JWKS names. Raises StampAbsent, StampForged,
    StampAltered or StampExpired, all of them StampError, where the run has no stamp that is good; KeysUnavailable
    where that can't be told; RuntimeError outside a run.
    """
    return examine(_stamped_run(), keys or keys_of_environment())


def require_role(*roles: str, keys: KeySource | None = None) -> Caller:
    """The verified caller, who must have one of the roles; else RoleRequired, or whatever current_caller raises."""
    if not roles:
        raise ValueError("require_role needs the name of a role")
    caller = current_caller(keys=keys)
    if not caller.has_role(*roles):
        raise RoleRequired(f"{caller.name} ({caller.kind}) has none of the roles {', '.join(roles)}")
    return caller


def caller_headers(*, keys: KeySource | None = None) -> dict[str, str]:
    """Headers for a request through the gateway that starts another run: it keeps this run's caller.

    They go beside the flow's own Authorization. The new run has no role that this one lacks.
    """
    run = _stamped_run()
    headers = {STAMP_HEADER: examine(run, keys or keys_of_environment()).stamp}
    trace = run.labels.get(TRACE_LABEL)
    if isinstance(trace, str):
        headers["traceparent"] = trace
    return headers


def _stamped_run() -> FlowRun:
    """The run that was started from outside: for a flow that another one calls as a function, the outermost.

    It is the one that the worker started this process for. What a run says of its own parents is not asked: anybody
    who may create runs may say that.
    """
    outermost = os.environ.get("PREFECT__FLOW_RUN_ID")
    context, task = FlowRunContext.get(), TaskRunContext.get()
    run = context.flow_run if context else None
    if run is not None and (not outermost or str(run.id) == outermost):
        return run
    run_id = outermost or (task.task_run.flow_run_id if task else None)
    if (run is None and task is None) or not run_id:
        raise RuntimeError("there is no flow run here: call this inside a flow or a task")
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(str(run_id)))
