"""PURE. Tokens to continue a listing: opaque to the client, and of no use when altered."""

import base64
import binascii
import hmac
from collections.abc import Sequence
from hashlib import sha256

_CONTEXT = b"actorflow continuation token v1\0"
_MAC_BYTES = 16


class BadPageTokenError(ValueError):
    """Not a token of this server, or of an API token that is no longer valid."""


class PageTokens:
    """Makes and reads continuation tokens.

    The keys come from the API tokens, so that every host of a deployment reads the tokens of all
    others, also after a restart. Without an API token everybody may list everything anyway; the MAC
    then guards against accidents only.
    """

    def __init__(self, api_tokens: Sequence[str]) -> None:
        self._keys = [sha256(_CONTEXT + token.encode()).digest() for token in api_tokens or ("",)]

    def encode(self, after: str) -> str:
        """Return the token for what comes after this id."""
        data = after.encode()
        return base64.urlsafe_b64encode(_mac(self._keys[0], data) + data).decode().rstrip("=")

    def decode(self, token: str) -> str:
        """Return the id in a token.

        Raises:
            BadPageTokenError: altered, cut, or not a token at all.
        """
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise BadPageTokenError from None
        mac, data = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not any(hmac.compare_digest(mac, _mac(key, data)) for key in self._keys):
            raise BadPageTokenError
        return data.decode()


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")[:_MAC_BYTES]
