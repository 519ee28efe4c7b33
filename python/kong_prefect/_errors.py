"""What can be wrong. Every error of a stamp has the findings, with the codes that `kong-prefect verify-run` has too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a run's stamp; `code` is stable, `detail` is for people."""

    code: str
    detail: str


class StampError(Exception):
    """The run has no stamp that proves its caller. Don't go on in anybody's name."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(f"{f.code}: {f.detail}" for f in self.findings))

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of all findings."""
        return tuple(f.code for f in self.findings)


class StampAbsent(StampError):
    """The run wasn't started through the gateway, or not with a signed stamp."""


class StampForged(StampError):
    """What stands in the stamp's place wasn't signed by the gateway."""


class StampAltered(StampError):
    """The stamp is the gateway's, but for another run, or something on the run was changed after it."""


class StampExpired(StampAltered):
    """The stamp is the gateway's and this run's, but was good until a time that has passed."""


class RoleRequired(PermissionError):
    """The caller is known, and has none of the roles that are required."""


class KeysUnavailable(RuntimeError):
    """The gateway's keys can't be had, so nothing can be verified."""


def error_of(findings: Sequence[Finding]) -> StampError:
    """The most telling error for what was found."""
    codes = {f.code for f in findings}
    if "absent" in codes:
        return StampAbsent(findings)
    if codes & {"malformed", "key_unknown", "forged", "issuer", "version"}:
        return StampForged(findings)
    if codes == {"expired"}:
        return StampExpired(findings)
    return StampAltered(findings)
