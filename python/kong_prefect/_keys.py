"""The gateway's public keys: a key set (RFC 7517) from an address or a pinned file. PyJWT fetches, parses and caches."""

from __future__ import annotations

import functools
import ipaddress
import os
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import jwt

from ._errors import KeysUnavailable

SOURCE_VARIABLE = "KONG_PREFECT_JWKS"
INSECURE_VARIABLE = "KONG_PREFECT_INSECURE_ALLOW_HTTP"

_TIMEOUT_SECONDS = 5
_CACHE_SECONDS = 300


class KeySource(Protocol):
    """Finds a key by its kid."""

    def find(self, kid: str) -> jwt.PyJWK | None:
        """The key, or None where there is none of that kid. Raises KeysUnavailable."""


class KeySet:
    """A key set at hand."""

    def __init__(self, text: str) -> None:
        try:
            keys = jwt.PyJWKSet.from_json(text).keys
        except (jwt.PyJWTError, ValueError, AttributeError, TypeError) as err:
            raise KeysUnavailable("not a key set") from err
        self._keys = {key.key_id: key for key in keys}

    def find(self, kid: str) -> jwt.PyJWK | None:
        return self._keys.get(kid)


class _File:
    def __init__(self, path: str) -> None:
        self._path = path

    def find(self, kid: str) -> jwt.PyJWK | None:
        try:
            text = Path(self._path).read_text(encoding="utf-8")
        except (OSError, ValueError) as err:
            raise KeysUnavailable(f"the key set {self._path} can't be read") from err
        return KeySet(text).find(kid)


class _Address:
    def __init__(self, url: str) -> None:
        self._client = jwt.PyJWKClient(url, lifespan=_CACHE_SECONDS, timeout=_TIMEOUT_SECONDS)
        self._url = url

    def find(self, kid: str) -> jwt.PyJWK | None:
        try:
            # A kid that isn't known yet makes it fetch once more: keys turn.
            return self._client.get_signing_key(kid)
        except jwt.PyJWKClientConnectionError as err:
            raise KeysUnavailable(f"the key set {self._url} can't be fetched") from err
        except (jwt.PyJWTError, ValueError) as err:
            # What it raises for an unknown kid is no class of its own.
            try:
                known = {key.key_id for key in self._client.get_signing_keys()}
            except (jwt.PyJWTError, ValueError):
                raise KeysUnavailable(f"the key set {self._url} can't be read") from err
            if kid in known:
                raise KeysUnavailable(f"the key set {self._url} can't be read") from err
            return None


class _Several:
    def __init__(self, sources: list[KeySource]) -> None:
        self._sources = sources

    def find(self, kid: str) -> jwt.PyJWK | None:
        failed: KeysUnavailable | None = None
        for source in self._sources:
            try:
                if key := source.find(kid):
                    return key
            except KeysUnavailable as err:
                failed = err
        if failed:
            raise failed
        return None


@functools.lru_cache(maxsize=16)
def keys_from(sources: str) -> KeySource:
    """Key sets by https:// address or file, separated by commas: several nodes may have a key each."""
    found: list[KeySource] = []
    for source in filter(None, (part.strip() for part in sources.split(","))):
        if "://" not in source:
            found.append(_File(source))
            continue
        _check_address(source)
        found.append(_Address(source))
    if not found:
        raise KeysUnavailable("no key set is named")
    return found[0] if len(found) == 1 else _Several(found)


def keys_of_environment() -> KeySource:
    """The key sets that KONG_PREFECT_JWKS names."""
    sources = os.environ.get(SOURCE_VARIABLE, "")
    if not sources:
        raise KeysUnavailable(f"{SOURCE_VARIABLE} is not set: it names the gateway's key set, an https:// address or a file")
    return keys_from(sources)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https":
        return
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if parts.scheme != "http" or not (loopback or os.environ.get(INSECURE_VARIABLE) == "1"):
        raise KeysUnavailable(
            f"{url}: over plain http whoever is on the network in between decides which stamps are good; use https, a "
            f"file, or, in a closed test network, {INSECURE_VARIABLE}=1"
        )
