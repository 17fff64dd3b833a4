"""What must hold before the loop starts: its ports are free and its state can be written."""

import socket

from src.core.errors import ConfigError
from src.core.folders import explaining_unwritable, make_folder
from src.core.retrain_signal import RetrainSpool
from src.core.settings import LocalSettings


def check_ports(settings: LocalSettings) -> None:
    """Refuse to start beside something that listens on one of our ports.

    Raises:
        ConfigError: naming every taken port and the variable that chooses another.
    """
    ports = {
        "MLFLOW_PORT": ("127.0.0.1", settings.mlflow_port),
        "INFERENCE_PORT": (settings.inference_host, settings.inference_port),
        "MONITOR_PORT": (settings.monitor_host, settings.monitor_port),
    }
    taken_names = [name for name, address in ports.items() if not _is_free(address)]
    if taken_names:
        taken = ", ".join(f"{ports[name][1]} ({name})" for name in taken_names)
        raise ConfigError(
            f"port {taken} is taken; stop what listens there or choose another, "
            f"such as {taken_names[0]}={ports[taken_names[0]][1] + 1} make local"
        )
    if len({address[1] for address in ports.values()}) < len(ports):
        raise ConfigError(f"{', '.join(ports)} must differ")


def _is_free(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection that lingers after a stop does not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def make_state_folders(settings: LocalSettings) -> RetrainSpool:
    """Create the folders that the processes expect; return the retrain spool among them.

    Raises:
        ConfigError: the data folder is not writable.
    """
    with explaining_unwritable():
        for folder in (settings.data_dir, settings.local_dir / "mlflow" / "artifacts", settings.cache_dir):
            make_folder(folder)
        return RetrainSpool(settings.retrain_dir).create()
