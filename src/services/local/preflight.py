"""Checks before the loop starts: free ports and a writable data folder are required; other doubts are reported."""

import errno
import socket
from pathlib import Path

from dotenv import dotenv_values

from src.core.audit_log import AuditLog
from src.core.errors import ConfigError
from src.core.folders import explaining_unwritable, make_folder
from src.core.local_settings import LocalSettings
from src.core.misspelt import example_text, misspelt
from src.core.pipeline_config import load_pipeline_config
from src.core.retrain_queue import RetrainQueue, open_queue
from src.core.settings import env_file, load_settings
from src.core.training_settings import TrainSettings
from src.services.local.processes import REPOSITORY


def check_ports(settings: LocalSettings) -> None:
    """Refuse to start if a port is in use or cannot be bound.

    Raises:
        ConfigError: names every port that cannot be bound, why, and the variable that chooses another.
    """
    addresses = {
        "MLFLOW": ("127.0.0.1", settings.mlflow_port),
        "INFERENCE": (settings.inference_host, settings.inference_port),
        "MONITOR": (settings.monitor_host, settings.monitor_port),
        "QUALITY": (settings.quality_host, settings.quality_port),
    }
    troubles = []
    for name, (host, port) in addresses.items():
        try:
            try_to_listen(host, port)
        except OSError as error:
            troubles.append(explain(error, name, host, port))
    if troubles:
        raise ConfigError("; ".join(troubles))
    if len({port for _, port in addresses.values()}) < len(addresses):
        raise ConfigError(f"{', '.join(f'{name}_PORT' for name in addresses)} must differ")


def doubts() -> list[str]:
    """Warnings about settings that do not prevent the start but will cause errors later."""
    file = env_file()
    names = dotenv_values(file, interpolate=False) if Path(file).is_file() else {}
    # Settings' names are not case-sensitive.
    found = misspelt(map(str.upper, names), example_text(REPOSITORY), file)
    try:
        load_pipeline_config(load_settings(TrainSettings).pipeline_config)
    except ConfigError as error:
        found.append(f"{error}; no training can run until this is fixed")
    return found


def try_to_listen(host: str, port: int) -> None:
    """Listen as the services do, and release the port. Raises OSError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    socket.create_server(address, family=family).close()


def explain(error: OSError, name: str, host: str, port: int) -> str:
    """The message of a failed bind of ``<name>_HOST`` and ``<name>_PORT``."""
    if isinstance(error, socket.gaierror):
        return f"{name}_HOST {host!r} cannot be resolved ({error.strerror}); set it to an address of this machine"
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} ({name}_PORT) is taken; stop what listens there or run {name}_PORT=… make local"
        case errno.EADDRNOTAVAIL:
            return f"{name}_HOST {host!r} is not an address of this machine; set it to one, such as 127.0.0.1"
        case errno.EACCES:
            return f"port {port} ({name}_PORT) is reserved for root on this machine; choose one from 1024"
    return f"cannot listen on {host!r} port {port} ({error.strerror}); set {name}_HOST and {name}_PORT"


def make_state_folders(settings: LocalSettings) -> RetrainQueue:
    """Create the folders that the processes expect; return the retrain spool among them.

    Raises:
        ConfigError: the data folder is not writable.
    """
    with explaining_unwritable():
        for folder in (settings.data_dir, settings.local_dir / "mlflow" / "artifacts", settings.cache_dir):
            make_folder(folder)
        return open_queue(settings, audit=AuditLog(settings.audit_file)).create()
