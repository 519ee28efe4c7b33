"""Whether a run's stamp is genuine and everything on the run is as it was written."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jwt
import rfc8785

from ._caller import Caller, caller_of
from ._canonical import canonical, parameters_hash
from ._errors import Finding, error_of
from ._keys import KeySource

CONTEXT_KEY = "kong_prefect"
ISSUER = "kong-prefect"
TYPE = "kong-prefect-stamp+jwt"
VERSION = 1

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_MAX_BYTES = 32 << 10
_LEEWAY_SECONDS = 60  # between the gateway's clock and this one
_REQUIRED = ["iss", "sub", "iat", "exp"]
_WHO = (
    "version caller actors roles rule request_id team business_function via"
).split()  # the signed claims that the context repeats


class Run(Protocol):
    """A flow run; Prefect's own FlowRun is one."""

    @property
    def flow_id(self) -> Any: ...
    @property
    def deployment_id(self) -> Any: ...
    @property
    def idempotency_key(self) -> str | None: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def context(self) -> Mapping[str, Any] | None: ...
    @property
    def created_by(self) -> Any: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def labels(self) -> Mapping[str, Any]: ...


def examine(run: Run, keys: KeySource, at: datetime.datetime | None = None) -> Caller:
    """The caller of a run, or a StampError with all that is wrong. `at` is when the stamp must be good: now."""
    plain, stamp = _read_context(run.context)
    claims = _verified(stamp, keys)
    findings: list[Finding] = []
    now = (at or datetime.datetime.now(datetime.timezone.utc)).timestamp()
    if now >= claims["exp"]:
        until = datetime.datetime.fromtimestamp(claims["exp"], datetime.timezone.utc)
        findings.append(Finding("expired", f"the stamp was good until {until.isoformat()}"))
    if claims.get("version") != VERSION:
        findings.append(Finding("version", f"the stamp has version {claims.get('version')}, this module knows {VERSION}"))
        raise error_of(findings)
    findings += _compare_run(claims, run)
    findings += _compare_shown(claims, plain, run)
    if findings:
        raise error_of(findings)
    return caller_of(claims, stamp)


def _read_context(context: Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
    if CONTEXT_KEY not in (context or {}):
        raise error_of([Finding("absent", "the run has no stamp: it wasn't started through the gateway")])
    stamped = (context or {})[CONTEXT_KEY]
    if not isinstance(stamped, Mapping):
        raise error_of([Finding("malformed", "what stands in the stamp's place is none")])
    stamp = stamped.get("stamp")
    if not isinstance(stamp, str) or not stamp:
        raise error_of([Finding("absent", "the run's context names a caller, but nothing of it is signed")])
    return {name: value for name, value in stamped.items() if name != "stamp"}, stamp


def _verified(stamp: str, keys: KeySource) -> dict[str, Any]:
    malformed = error_of([Finding("malformed", "what stands in the stamp's place is none")])
    if len(stamp) > _MAX_BYTES or not _COMPACT.fullmatch(stamp):
        raise malformed
    try:
        header = jwt.get_unverified_header(stamp)
    except jwt.PyJWTError as err:
        raise malformed from err
    kid = header.get("kid")
    # The gateway's headers hold these three: with crit or jku in it, whatever they ask, it isn't the gateway's.
    if set(header) != {"alg", "kid", "typ"} or header["typ"] != TYPE or not isinstance(kid, str):
        raise malformed
    key = keys.find(kid)
    if key is None or key.key_type != "OKP":
        raise error_of([Finding("key_unknown", "the stamp is signed with a key that isn't the gateway's")])
    try:
        # exp is compared by the caller, who says at what time.
        return jwt.decode(
            stamp, key, algorithms=["EdDSA"], issuer=ISSUER, leeway=_LEEWAY_SECONDS,
            options={"require": _REQUIRED, "verify_exp": False},
        )  # fmt: skip
    except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as err:
        raise error_of([Finding("forged", "the stamp's signature is wrong")]) from err
    except jwt.DecodeError as err:
        raise malformed from err
    except jwt.PyJWTError as err:
        raise error_of([Finding("issuer", f"the stamp isn't one of a gateway: {err}")]) from err


def _compare_run(claims: Mapping[str, Any], run: Run) -> list[Finding]:
    findings: list[Finding] = []
    for code, claim, stored, what in (
        ("flow", "flow_id", run.flow_id, "flow"),
        ("deployment", "deployment_id", run.deployment_id, "deployment"),
        ("idempotency_key", "idempotency_key", run.idempotency_key, "the run with the idempotency key"),
    ):
        if claims.get(claim) != (None if stored is None else str(stored)):
            findings.append(Finding(code, f"the stamp is for {what} {claims.get(claim)}, the run has {stored}"))
    try:
        same = parameters_hash(run.parameters or {}, claims.get("server_parameters") or ()) == claims["parameters_sha256"]
    except (rfc8785.CanonicalizationError, KeyError, TypeError):
        same = False
    if not same:
        findings.append(Finding("parameters", "the run's parameters aren't those that the caller was allowed"))
    return findings


def _compare_shown(claims: Mapping[str, Any], plain: Mapping[str, Any], run: Run) -> list[Finding]:
    findings: list[Finding] = []
    if not _same({name: claims[name] for name in _WHO if name in claims}, plain):
        findings.append(Finding("context", "the run's context says something else than the stamp in it"))
    signed_by, shown_by = claims.get("created_by"), run.created_by
    if signed_by and (
        shown_by is None or str(shown_by.id) != signed_by["id"] or shown_by.display_value != signed_by["display_value"]
    ):
        name = signed_by["display_value"]
        findings.append(Finding("created_by", f"the run was created by {name!r}, and doesn't show it"))
    if "tags" in claims:
        findings += _compare_tags(claims["tags"], run.tags or ())
    if "labels" in claims:
        ours = {name: value for name, value in (run.labels or {}).items() if name.startswith("kong-prefect.")}
        if not _same(claims["labels"], ours):
            findings.append(Finding("labels", "the labels kong-prefect.* were rewritten"))
    return findings


def _compare_tags(signed: Sequence[str], shown: Sequence[str]) -> list[Finding]:
    gone = [Finding("tags", f"the tag {tag!r} is gone") for tag in signed if tag not in shown]
    # Teams and functions may come from the deployment's own tags.
    added = [
        Finding("tags", f"the tag {tag!r} was added")
        for tag in shown
        if _visible(tag).startswith(("caller:", "actor:")) and tag not in signed
    ]
    return gone + added


def _visible(tag: str) -> str:
    """A tag as people read it: without white space, invisible characters, and differences of case or form."""
    text = unicodedata.normalize("NFKC", tag)
    return "".join(c for c in text if c.isprintable() and not c.isspace()).lower()


def _same(a: Any, b: Any) -> bool:
    try:
        return canonical(a) == canonical(b)
    except (rfc8785.CanonicalizationError, TypeError):
        return False
