"""The project's errors: each message says what is wrong and what to do; none knows HTTP."""


class LoopError(Exception):
    """Base of every error this project raises on purpose.

    ``permanent`` tells a retrying caller whether trying again unchanged can help.
    """

    permanent = False


class ConfigError(LoopError):
    """A setting or ``config/pipeline.yaml`` is wrong; only an edit helps."""

    permanent = True


class DataError(LoopError):
    """The data set is missing, unreadable or fails validation; only other data help."""

    permanent = True


class ConnectionFailedError(LoopError):
    """A server this process needs cannot be reached or refuses us."""


class RegistryError(LoopError):
    """MLflow answered, but not with what the registry contract promises."""


class InvalidModelError(LoopError):
    """A model directory fails its manifest, its golden rows or the model contract."""


class ModelParityError(InvalidModelError):
    """A fitted model has no ONNX graph that answers as it does; it is registered without one."""


class UntrustedModelError(InvalidModelError):
    """A model has parts of types that loading it would not trust; training it again makes the same one."""

    permanent = True


class OtherCodeError(InvalidModelError):
    """A model runs classes of ``src/pipeline`` that are not those of this process."""


class OtherSchemaError(InvalidModelError):
    """A sound model that takes other columns or knows other classes than the rows it is asked about."""


class ModelFailedError(LoopError):
    """A loaded model cannot answer some rows; what it said of them is not repeated, as it may hold their values."""


class TrainerBusyError(LoopError):
    """Another training holds the trainer lock."""


class SpoolFullError(LoopError):
    """The shared volume has no space for one more signal; nothing was accepted."""


class SpoolUnavailableError(LoopError):
    """The spool's folder is gone or its disk fails: nothing can be said of any request."""


class SpoolBusyError(LoopError):
    """So many signals wait already that one more would change nothing."""


class ModelNotLoadedError(LoopError):
    """No model can answer yet."""


class InvalidInputError(LoopError):
    """A prediction request fails the model's schema.

    Attributes:
        field: the schema's column at fault, or None where the whole body is.
        kind: a stable machine-readable slug, such as ``missing`` or ``not_finite``.
        row: the record at fault, from 0, or None where there is only one.
    """

    permanent = True

    def __init__(self, message: str, *, kind: str, field: str | None = None, row: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.field = field
        self.row = row


def first_line(error: Exception) -> str:
    """An error's message without the further lines that libraries append."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
