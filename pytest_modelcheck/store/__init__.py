"""Results kept on disk: found again by what they were made from, which is verified before they are used."""

import pytest_modelcheck.recorder as recorder
from pytest_modelcheck.store.environment import numeric_environment, own_code
from pytest_modelcheck.store.folder import file_digest, temporary_folder, until_exit
from pytest_modelcheck.store.manifest import Manifest, Watch, library_versions
from pytest_modelcheck.store.results import Store

recorder.install()  # where no plugin did it before: what is read from now on is seen

__all__ = [
    "Manifest",
    "Store",
    "Watch",
    "file_digest",
    "library_versions",
    "numeric_environment",
    "own_code",
    "temporary_folder",
    "until_exit",
]
