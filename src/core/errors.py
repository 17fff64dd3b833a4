"""The project's errors: each message says what is wrong and what to do. They are independent of HTTP."""


class LoopError(Exception):
    """Base class of this project's errors.

    ``permanent`` errors occur again when the operation is repeated unchanged.
    """

    permanent = False


class ConfigError(LoopError):
    """A setting or ``config/pipeline.yaml`` is wrong and must be edited."""

    permanent = True


class DataError(LoopError):
    """The data set is missing, unreadable or invalid and must be fixed."""

    permanent = True


class ConnectionFailedError(LoopError):
    """A server cannot be reached or refuses the request."""


class RegistryError(LoopError):
    """A response of MLflow or ZenML violates the registry contract."""


class InvalidModelError(LoopError):
    """A model directory fails its manifest, its golden rows or the model contract."""


class ModelParityError(InvalidModelError):
    """A fitted model has no ONNX graph with equal predictions; it is registered without one."""


class UntrustedModelError(InvalidModelError):
    """A model contains untrusted types; training it again does not help."""

    permanent = True


class OtherCodeError(InvalidModelError):
    """A model needs classes of another version of ``src/pipeline`` than this process has."""


class OtherSchemaError(InvalidModelError):
    """A valid model whose columns or classes differ from those of the rows."""


class ModelFailedError(LoopError):
    """A loaded model fails on some rows; its own message is omitted, as it may contain their values."""


class TrainerBusyError(LoopError):
    """Another training holds the trainer lock."""


class LeaseLostError(TrainerBusyError):
    """The lease of the trainer lock has expired: its former holder may not change requests any more."""


class OutputBusyError(LoopError):
    """Another run writes to the same folder of outputs."""


class SpoolFullError(LoopError):
    """The shared volume has no space for another request; nothing was accepted."""


class SpoolUnavailableError(LoopError):
    """A folder of the shared volume, or the queue's database, cannot be used; the state of its records is unknown."""


class SpoolBusyError(LoopError):
    """The maximum number of requests is pending; one training will serve them all."""


class DamagedReportError(LoopError):
    """The report of live quality exists and cannot be read."""


class ModelNotLoadedError(LoopError):
    """No model is loaded yet."""


class InvalidInputError(LoopError):
    """A prediction request does not match the model's schema.

    Attributes:
        field: the invalid column; None where the whole body is invalid.
        kind: a stable machine-readable slug, such as ``missing`` or ``not_finite``.
        row: the index of the invalid record, from 0; None where there is only one.
    """

    permanent = True

    def __init__(self, message: str, *, kind: str, field: str | None = None, row: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.field = field
        self.row = row


def first_line(error: BaseException) -> str:
    """An error's message without the further lines that libraries append."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
