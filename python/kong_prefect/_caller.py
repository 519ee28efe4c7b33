"""The verified caller of a run."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Actor:
    """Who acted for the caller."""

    subject: str
    issuer: str = ""
    kind: str = ""
    name: str = ""
    client: str = ""


@dataclass(frozen=True)
class Link:
    """A run between the caller and this one."""

    deployment_id: str
    idempotency_key: str
    request_id: str


@dataclass(frozen=True)
class Caller:
    """Who started the run, verified. `issuer` and `subject` are the caller; a name is for people to read."""

    subject: str
    issuer: str
    kind: str  # user, service or agent
    name: str
    email: str
    client: str
    # The first caller stays the caller, however many runs lie in between; who acted for them, the nearest first.
    actors: tuple[Actor, ...]
    # The roles that the caller and all actors have.
    roles: tuple[str, ...]
    rule: str
    request_id: str
    team: str
    business_function: str
    # The runs in between, the nearest first.
    via: tuple[Link, ...]
    issued_at: datetime.datetime
    expires_at: datetime.datetime
    # The signed stamp. No credential, but no matter for logs either.
    stamp: str = field(repr=False)

    def has_role(self, *roles: str) -> bool:
        """Whether the caller has one of the roles."""
        return any(role in self.roles for role in roles)


def caller_of(claims: Mapping[str, Any], stamp: str) -> Caller:
    """Read the claims of a stamp that was verified."""
    who = claims["caller"]
    return Caller(
        subject=who["subject"],
        issuer=who["issuer"],
        kind=who["kind"],
        name=who["name"],
        email=who.get("email", ""),
        client=who.get("client", ""),
        actors=tuple(
            Actor(**{name: actor.get(name, "") for name in ("subject", "issuer", "kind", "name", "client")})
            for actor in claims.get("actors", ())
        ),
        roles=tuple(claims["roles"]),
        rule=claims["rule"],
        request_id=claims["request_id"],
        team=claims.get("team", ""),
        business_function=claims.get("business_function", ""),
        via=tuple(
            Link(link["deployment_id"], link["idempotency_key"], link["request_id"]) for link in claims.get("via", ())
        ),
        issued_at=_time(claims["iat"]),
        expires_at=_time(claims["exp"]),
        stamp=stamp,
    )


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
