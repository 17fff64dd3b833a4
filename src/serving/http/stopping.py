"""Whether the service is stopping."""


class Stopping:
    """Whether the service was asked to stop, which cannot be undone."""

    begun = False

    def begin(self) -> None:
        """Report unreadiness from now on."""
        self.begun = True
