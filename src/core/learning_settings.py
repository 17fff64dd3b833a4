"""Environment settings for learning from labelled rows of the prediction log (``dataset.feedback``)."""

import ipaddress

from pydantic import Field

from src.core.errors import ConfigError
from src.core.prediction_log_settings import LoggedColumnsSettings, LogStoreSettings
from src.core.settings import CommonSettings, WriteKey


class LearningSettings(CommonSettings, LoggedColumnsSettings, LogStoreSettings):
    """Where the log is, which columns it lacks, and who can send labels.

    A training in a container does not get the key itself, only whether there is one.
    """

    inference_host: str = Field("127.0.0.1", description="address the service listens on")
    write_api_key: WriteKey | None = Field(None, description="the service's key for writing requests, if it has one")
    write_key_is_set: bool = Field(default=False, description="whether the service has one, where it is not known here")

    def require_trusted_labels(self) -> None:
        """Refuse labels that any client of the network could have sent.

        Raises:
            ConfigError: the service listens beyond this machine without a key for writing requests.
        """
        has_key = self.write_api_key is not None or self.write_key_is_set
        if not (has_key or _is_loopback(self.inference_host)):
            raise ConfigError(
                f"dataset.feedback.use is on, and inference listens on {self.inference_host} without WRITE_API_KEY: "
                "every client could send the labels that are learned; set WRITE_API_KEY to at least 16 characters, let "
                "inference listen on 127.0.0.1, or set dataset.feedback.use to false"
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name, which may be any address
        return False
