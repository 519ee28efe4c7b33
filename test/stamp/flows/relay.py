"""A flow that says who called it, and starts the next run through the gateway in the same caller's name."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from prefect import flow, task

from kong_prefect import Caller, RoleRequired, StampError, caller_headers, current_caller, require_role


@task
def name_in_a_task() -> str:
    """Tasks ask as flows do."""
    return current_caller().name


@flow
def name_in_a_subflow() -> str:
    """A flow that another one calls is part of the same run from outside."""
    return current_caller().name


def shown(caller: Caller) -> str:
    by = ", ".join(actor.name or actor.subject for actor in caller.actors) or "nobody else"
    return f"{caller.name} ({caller.kind}) with {', '.join(caller.roles) or 'no role'}, by {by}, run {len(caller.via) + 1}"


def start(account: str, path: str, parameters: dict[str, Any]) -> str:
    """Start a run at the gateway: with the flow's own account, in the caller's name."""
    settings = json.loads(Path(os.environ["RELAY_SETTINGS"]).read_text(encoding="utf-8"))
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {settings['tokens'][account]}"}
    request = urllib.request.Request(
        settings["gateway"] + path, json.dumps(parameters).encode(), {**headers, **caller_headers()}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return f"started {json.load(answer)['id']}"
    except urllib.error.HTTPError as err:
        return f"refused {json.load(err)['code']}"


@flow(name="relay", log_prints=True)
def relay(
    onward: list[list[str]] | None = None, amount: float = 1.0, anything: Any = None, nested: bool = False, note: str = ""
) -> None:
    """Print the caller, then go on to the first of `onward`, pairs of an account and a route."""
    try:
        caller = current_caller()
    except StampError as err:
        print(f"not proved: {type(err).__name__} {' '.join(err.codes)}")
        raise
    print(f"called by {shown(caller)}")
    try:
        require_role("owner")
    except RoleRequired as err:
        print(f"no owner: {err}")
    if nested:
        print(f"in a task: {name_in_a_task()}; in a subflow: {name_in_a_subflow()}")
    if onward:
        account, path = onward[0]
        print(f"{path} {start(account, path, {'onward': onward[1:]})}")
    print("relayed")
