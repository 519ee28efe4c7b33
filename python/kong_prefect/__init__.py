"""Who started this Prefect run: the caller that the gateway verified, checked inside the flow.

The gateway writes a signed stamp into a run's context. What this package gives out was checked first: the signature by
the gateway's keys, that the stamp is for this run of this deployment with these very parameters, that it hasn't
expired, and that what people and machines read of it (context, "Created By", tags, labels) says the same. Where
anything differs it raises; it never answers with a caller that it couldn't verify, and has no way to skip a check.

Read `current_caller` first.
"""

from ._caller import Actor, Caller, Link
from ._errors import (
    Finding,
    KeysUnavailable,
    RoleRequired,
    StampAbsent,
    StampAltered,
    StampError,
    StampExpired,
    StampForged,
)
from ._examine import examine
from ._flow import caller_headers, current_caller, require_role
from ._keys import KeySet, KeySource, keys_from

__all__ = [
    "Actor",
    "Caller",
    "Finding",
    "KeySet",
    "KeySource",
    "KeysUnavailable",
    "Link",
    "RoleRequired",
    "StampAbsent",
    "StampAltered",
    "StampError",
    "StampExpired",
    "StampForged",
    "caller_headers",
    "current_caller",
    "examine",
    "keys_from",
    "require_role",
]
