"""What the address of a data set may contain: it is shown in ZenML, and is part of a training's fingerprint."""

import re
from urllib.parse import parse_qsl, urlsplit

# Parameters that give access, such as X-Amz-Signature, access_token, AWSAccessKeyId, and Azure's sig.
SECRET = re.compile(r"signature|token|secret|passw|credential|access_?key|api[_-]?key|^(sig|key)$", re.IGNORECASE)
INSTEAD = "use s3:// with keys from the environment"


def without_secrets(source: str) -> str:
    """The same source.

    Raises:
        ValueError: it is an address with a user name, a password, or a parameter that gives access.
    """
    if "://" not in source:
        return source
    parts = urlsplit(source)
    if "@" in parts.netloc:
        raise ValueError(f"must not contain a user name or a password; {INSTEAD}")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if SECRET.search(name):
            raise ValueError(f"must not contain a secret such as {name}; {INSTEAD}")
    return source
