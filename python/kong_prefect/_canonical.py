"""The hash of a run's parameters: SHA-256 over their canonical JSON (RFC 8785), by the package rfc8785."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import rfc8785


def canonical(value: Any) -> bytes:
    """The canonical JSON of a value that came out of JSON."""
    return rfc8785.dumps(_exact(value))


def parameters_hash(parameters: Mapping[str, Any], server: Collection[str] = ()) -> str:
    """The hash of the parameters, in hexadecimal, without those that the server filled in."""
    signed = {name: value for name, value in parameters.items() if name not in server}
    return hashlib.sha256(canonical(signed)).hexdigest()


def _exact(value: Any) -> Any:
    """Write integers that a double can't give back as strings (RFC 7493, section 2.2); RFC 8785 knows only doubles."""
    if isinstance(value, Mapping):
        return {name: _exact(below) for name, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(below) for below in value]
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            double = float(value)
        except OverflowError:
            return str(value)
        return double if int(Decimal(repr(double))) == value else str(value)
    return value
