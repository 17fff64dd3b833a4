"""The model behind LitServe: ``litserve_api.py PORT MOST_REQUESTS_IN_A_BATCH``."""

import os
import sys
from typing import Any

import joblib
import litserve
import numpy as np
import pandas as pd

BATCH_SECONDS = 0.005


class IrisApi(litserve.LitAPI):  # type: ignore[misc] # unknown where mypy runs
    """Predicts a label for each row; a batch of requests is one call of the model."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the pickled pipeline."""
        self._pipeline = joblib.load(os.environ["BENCH_PIPELINE"])

    def decode_request(self, request: dict[str, Any]) -> "np.ndarray":
        """A request's rows."""
        return np.array(request["rows"])

    def predict(self, x: Any) -> Any:
        """Labels of one request's rows, or of each of several requests' rows."""
        if not isinstance(x, list):
            return self._labels(x)
        ends = np.cumsum([len(rows) for rows in x])[:-1]
        return np.split(self._labels(np.concatenate(x)), ends)

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Keep requests separate until the model is called, as their numbers of rows differ."""
        return inputs

    def encode_response(self, output: "np.ndarray") -> dict[str, Any]:
        """The response's body."""
        return {"labels": output.tolist()}

    def _labels(self, rows: "np.ndarray") -> "np.ndarray":
        frame = pd.DataFrame(rows, columns=self._pipeline.feature_names_in_)
        return np.asarray(self._pipeline.predict(frame))


def main() -> None:
    """Serve until a signal."""
    port, most = int(sys.argv[1]), int(sys.argv[2])
    api = IrisApi(max_batch_size=most, batch_timeout=BATCH_SECONDS if most > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
