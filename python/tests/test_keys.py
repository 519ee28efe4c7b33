"""Where keys come from, and that nothing is verified without them."""

from __future__ import annotations

import http.server
import json
import os
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

import kong_prefect

TESTDATA = Path(__file__).parents[2] / "stamp" / "testdata"
JWKS = json.loads((TESTDATA / "runs.json").read_text(encoding="utf-8"))["jwks"]
KID = JWKS["keys"][0]["kid"]


class Keys(unittest.TestCase):
    def test_file_is_read_again(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "keys.json"
            keys = kong_prefect.keys_from(str(path))
            for text in (None, "", "[]", "{}", '{"keys": []}', "<html>"):
                if text is not None:
                    path.write_text(text, encoding="utf-8")
                with self.assertRaises(kong_prefect.KeysUnavailable):
                    keys.find(KID)
            path.write_text(json.dumps(JWKS), encoding="utf-8")
            self.assertIsNotNone(keys.find(KID))
            self.assertIsNone(keys.find("other"))

    def test_address_is_asked_again_for_a_new_key(self) -> None:
        served = {"keys": [dict(JWKS["keys"][0], kid="before")]}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(served).encode())

            def log_message(self, *_: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_port}/"
            keys = kong_prefect.keys_from(url)
            self.assertIsNone(keys.find(KID))
            served["keys"] = JWKS["keys"]
            keys._client.cooldown_duration = 0  # type: ignore[attr-defined]  # PyJWT asks twice a minute at most
            self.assertIsNotNone(keys.find(KID))
            several = kong_prefect.keys_from(f"/nowhere/keys.json, {url}")
            self.assertIsNotNone(several.find(KID))
            with self.assertRaises(kong_prefect.KeysUnavailable):
                several.find("other")  # it may be in the file that can't be read
            server.shutdown()
        gone = kong_prefect.keys_from(f"http://127.0.0.1:{server.server_port}/gone")
        with self.assertRaises(kong_prefect.KeysUnavailable):
            gone.find(KID)

    def test_plain_http_beyond_this_machine_is_refused(self) -> None:
        for url in ("http://gateway/keys", "http://192.0.2.1/keys", "ftp://127.0.0.1/keys", "file:///etc/keys", ""):
            with self.subTest(url), self.assertRaises(kong_prefect.KeysUnavailable):
                kong_prefect.keys_from(url)
        with mock.patch.dict(os.environ, {"KONG_PREFECT_INSECURE_ALLOW_HTTP": "1"}):
            kong_prefect.keys_from("http://gateway/other-keys")

    def test_outside_a_run(self) -> None:
        with self.assertRaises(RuntimeError):
            kong_prefect.current_caller()


if __name__ == "__main__":
    unittest.main()
