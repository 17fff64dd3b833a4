"""Encrypts a text with a passphrase, and decrypts it: Fernet (AES and HMAC) with a key derived by scrypt.

``make backup SECRETS=1`` runs it in the training image, which has the ``cryptography`` package:
``python -m src.training.sealed_text seal`` or ``open``. The first line of the standard input is the passphrase.
"""

import base64
import json
import os
import sys
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

# 128 MB of memory and about half a second for each guess.
_COST = {"n": 2**17, "r": 8, "p": 1}
_SALT_BYTES = 16
# Not 1, with which Python ends after any other error.
CANNOT_OPEN = 3


def seal(text: str, passphrase: str) -> str:
    """The encrypted text, as JSON with everything but the passphrase that ``unseal`` needs."""
    salt = os.urandom(_SALT_BYTES)
    token = _fernet(passphrase, salt).encrypt(text.encode()).decode()
    return json.dumps({"salt": base64.b64encode(salt).decode(), "token": token})


def unseal(sealed: str, passphrase: str) -> str:
    """The text that was sealed.

    Raises:
        ValueError: another passphrase sealed it, or it was changed since.
    """
    content = json.loads(sealed)
    try:
        return _fernet(passphrase, base64.b64decode(content["salt"])).decrypt(content["token"]).decode()
    except InvalidToken:
        raise ValueError("another passphrase, or a changed text") from None


def _fernet(passphrase: str, salt: bytes) -> Fernet:
    key = Scrypt(salt=salt, length=32, **_COST).derive(passphrase.encode())
    return Fernet(base64.urlsafe_b64encode(key))


def main(arguments: Sequence[str]) -> int:
    """``seal`` or ``open`` the standard input; return 0, or 3 where the passphrase does not open it."""
    (action,) = arguments
    passphrase, _, text = sys.stdin.read().partition("\n")
    try:
        sys.stdout.write({"seal": seal, "open": unseal}[action](text, passphrase))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return CANNOT_OPEN
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
