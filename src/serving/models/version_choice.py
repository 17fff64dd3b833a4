"""Which version answers a request: the champion or, for a fixed share of the keys, a canary."""

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from src.core.canary_config import CanaryConfig
from src.core.feature_table import Row
from src.core.prediction_log import POSITIONS, Role
from src.serving.models.model_store import ModelStore
from src.serving.models.predictor import Predictor
from src.serving.tables.parts import text_of

Headers = Iterable[tuple[bytes, bytes]]
# The only row of a request as the given version reads it; None of a batch. It may raise any error.
RowOf = Callable[[Predictor], Row | None]


def position(rollout_id: str, key: str) -> int:
    """The position of a key in [0, 2**64), the same in every replica; other rollouts have others."""
    digest = hashlib.blake2b(key.encode(), digest_size=8, key=rollout_id.encode()).digest()
    return int.from_bytes(digest, "big")


@dataclass(frozen=True)
class Canary:
    """A version that answers a share of the requests.

    Attributes:
        rollout_id: of its record.
        predictor: the version, in the role of a canary.
        champion: the served model beside which it answers, and no other one.
        config: the share, and the key of a request.
        until: when it ends at the latest, in seconds since 1970-01-01 UTC.
    """

    rollout_id: str
    predictor: Predictor
    champion: Predictor
    config: CanaryConfig
    until: float

    @classmethod
    def of(cls, rollout_id: str, found: Predictor, champion: Predictor, config: CanaryConfig, until: float) -> "Canary":
        """A canary of a version as it was loaded."""
        return cls(rollout_id, replace(found, role=Role.CANARY), champion, config, until)

    def takes(self, headers: Headers, request_id: str, row_of: RowOf) -> bool:
        """Whether a request is the canary's. One without the configured header or value, or an empty one, is not."""
        key = self._key(headers, request_id, row_of)
        if not key:
            return False
        return position(self.rollout_id, key) < self.config.share * POSITIONS

    def _key(self, headers: Headers, request_id: str, row_of: RowOf) -> str | None:
        if self._header is not None:
            values = [value for name, value in headers if name == self._header]
            return b", ".join(values).decode("latin-1")
        if self._column is None:
            return request_id
        row = row_of(self.champion)
        return text_of(row[self._column]) if row is not None else None

    @cached_property
    def _header(self) -> bytes | None:
        return self.config.key_header.encode() if self.config.key_header is not None else None

    @cached_property
    def _column(self) -> int | None:
        column = self.config.key_column
        return self.champion.schema.names.index(column) if column is not None else None


class VersionChoice:
    """What prediction routes ask for the version that answers a request. Use from one event loop.

    With a header as the key, or the request's id, all rows of a request get the same version. With a column, requests
    for one row go by its value, and batches to the champion.

    Args:
        store: the served model.
        clock: seconds since 1970-01-01 UTC.
    """

    def __init__(self, store: ModelStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        # Set by ``CanaryFollower``. While it is None, every request is the champion's.
        self.canary: Canary | None = None

    def of(self, headers: Headers, request_id: str, row_of: RowOf) -> Predictor:
        """The version for a request with these headers, by lower-case names. Raises ModelNotLoadedError.

        It also raises what ``row_of`` does, which is called only with a column as the key.
        """
        canary, champion = self.canary, self._store.require()
        is_current = canary is not None and canary.champion is champion and self._clock() < canary.until
        if canary is not None and is_current and canary.takes(headers, request_id, row_of):
            return canary.predictor
        return champion
