"""The served model's newest promotions and their watches, for clients and the page."""

from dataclasses import dataclass

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from src.core.errors import SpoolUnavailableError
from src.core.rollout_record import Rollout, Rollouts, RolloutState
from src.serving.watch.shadow import Shadow


class Promotion(BaseModel):
    """A promotion and its watch; what its end says is null until then."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    version: str = Field(description="The promoted version")
    previous: str = Field(description="The champion before it")
    state: RolloutState
    started: AwareDatetime
    until: AwareDatetime = Field(description="When the watch ends at the latest")
    automatic: bool = Field(description="Whether it may be rolled back without a person")
    ended: AwareDatetime | None
    by: str | None = Field(description="Who or what ended the watch")
    reason: str | None
    requested: bool = Field(description="Whether the quality service has requested the rollback")
    rows: int = Field(description="Labelled rows on which both versions were compared")
    drop: float = Field(description="By how much the promoted version is worse on them; below 0 it is better")
    e_value: float = Field(description="Evidence that it is worse; 100 is a proof")
    is_worse: bool = Field(description="Whether it is proved to be worse")
    shadow: bool = Field(description="Whether the champion before it answers as a shadow now")


@dataclass(frozen=True)
class Promotions:
    """The records of promotions of one model, with what this process does about them.

    Attributes:
        rollouts: the records.
        model: the registered model's name.
        shadow: None without a prediction log.
    """

    rollouts: Rollouts
    model: str
    shadow: Shadow | None

    def recent(self, limit: int) -> list[Promotion]:
        """The newest promotions, newest first. Raises SpoolUnavailableError if the records cannot be read."""
        try:
            found = self.rollouts.recent(self.model, limit)
        except OSError as error:
            raise SpoolUnavailableError(
                f"the records of promotions cannot be read ({error.strerror}); check the shared volume"
            ) from error
        return [
            Promotion(**rollout.model_dump(include=set(Promotion.model_fields)), shadow=self._is_shadowed(rollout))
            for rollout in found
        ]

    def _is_shadowed(self, rollout: Rollout) -> bool:
        is_watched = rollout.state is RolloutState.WATCHING
        return is_watched and self.shadow is not None and self.shadow.version == rollout.previous
