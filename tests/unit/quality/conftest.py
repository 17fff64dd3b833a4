from functools import partial

import pytest

from src.quality.bucket import Bucket, open_bucket
from tests.support import quality_files
from tests.support.quality_files import NewStore


@pytest.fixture
def bucket(store_address: str) -> Bucket:
    """An empty prefix of a real S3 server."""
    found = open_bucket(store_address)
    assert found is not None
    return found


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def log_store(request: pytest.FixtureRequest) -> NewStore:
    """A log in a folder, and one in a bucket: both must do the same."""
    if request.param == "folder":
        return quality_files.log_store
    return partial(quality_files.log_store, bucket=request.getfixturevalue("bucket"))
