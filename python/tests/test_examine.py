"""The module finds what the gateway's own `verify-run` finds, on the same runs; the vectors are the Go package's."""

from __future__ import annotations

import datetime
import json
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kong_prefect
from kong_prefect._canonical import canonical, parameters_hash

TESTDATA = Path(__file__).parents[2] / "stamp" / "testdata"
VECTORS = json.loads((TESTDATA / "runs.json").read_text(encoding="utf-8"))
KEYS = kong_prefect.KeySet(json.dumps(VECTORS["jwks"]))


def run_of(vector: dict[str, Any]) -> Any:
    run = dict(vector["run"])
    if run["created_by"]:
        run["created_by"] = SimpleNamespace(**run["created_by"])
    return SimpleNamespace(**run)


def examine(vector: dict[str, Any]) -> kong_prefect.Caller:
    at = datetime.datetime.fromisoformat(vector["at"].replace("Z", "+00:00"))
    return kong_prefect.examine(run_of(vector), KEYS, at)


def named(name: str) -> dict[str, Any]:
    return next(v for v in VECTORS["runs"] if v["name"] == name)


class Examine(unittest.TestCase):
    def test_finds_what_the_gateway_finds(self) -> None:
        self.assertGreater(len(VECTORS["runs"]), 20)
        for vector in VECTORS["runs"]:
            with self.subTest(vector["name"]):
                if vector["codes"]:
                    with self.assertRaises(kong_prefect.StampError) as caught:
                        examine(vector)
                    self.assertEqual(vector["codes"], list(caught.exception.codes))
                else:
                    self.assertEqual("5d1a", examine(vector).subject)

    def test_errors_tell_what_it_is(self) -> None:
        for name, error in {
            "no stamp": kong_prefect.StampAbsent,
            "signed with another key": kong_prefect.StampForged,
            "another payload": kong_prefect.StampForged,
            "other parameters": kong_prefect.StampAltered,
            "copied from another run": kong_prefect.StampAltered,
            "expired": kong_prefect.StampExpired,
        }.items():
            with self.subTest(name), self.assertRaises(error):
                examine(named(name))

    def test_caller(self) -> None:
        caller = examine(named("genuine"))
        self.assertEqual(("https://idp.example.com", "user", "Alice Ä"), (caller.issuer, caller.kind, caller.name))
        self.assertEqual(("alice@example.com", "portal", ("runner",)), (caller.email, caller.client, caller.roles))
        self.assertTrue(caller.has_role("owner", "runner"))
        self.assertFalse(caller.has_role("owner"))
        self.assertNotIn(caller.stamp, repr(caller))

    def test_line_breaks_and_other_spellings_are_no_stamp(self) -> None:
        for change in (lambda s: s + "\n", lambda s: s + "=", lambda s: " " + s, lambda s: s.encode()):
            vector = json.loads(json.dumps(named("genuine")))
            run = run_of(vector)
            run.context["kong_prefect"]["stamp"] = change(run.context["kong_prefect"]["stamp"])
            with self.assertRaises(kong_prefect.StampError):
                kong_prefect.examine(run, KEYS)


class Canonical(unittest.TestCase):
    def test_vectors(self) -> None:
        vectors = json.loads((TESTDATA / "canonical.json").read_text(encoding="utf-8"))
        self.assertGreater(len(vectors), 20)
        for vector in vectors:
            with self.subTest(vector["name"]):
                self.assertEqual(vector["canonical"], canonical(json.loads(vector["json"])).decode())

    def test_hash(self) -> None:
        empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        self.assertEqual(empty, parameters_hash({}))
        self.assertEqual(empty, parameters_hash({"secret": 1}, ["secret"]))
        self.assertNotEqual(parameters_hash({"a": True}), parameters_hash({"a": 1}))


if __name__ == "__main__":
    unittest.main()
