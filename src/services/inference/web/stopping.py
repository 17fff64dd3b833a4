"""Whether the service stops."""


class Stopping:
    """Whether the service has been asked to stop; it does so for good."""

    begun = False

    def begin(self) -> None:
        """From now on nobody shall be sent here."""
        self.begun = True
