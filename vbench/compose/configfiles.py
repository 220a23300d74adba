"""Hydra's config files, each read once however often it is composed from."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.plugins.config_source import ConfigResult


class _Remembering(ConfigRepository):
    """Gives a fresh copy of what it has read: Hydra writes into what it is given, and values would leak between points.

    A copy is unpickled, which takes a tenth of the time that reading and parsing take.
    """

    def __init__(self, repository: ConfigRepository) -> None:
        self.sources = repository.sources
        self._read: dict[str, bytes] = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self._read:
            self._read[config_path] = pickle.dumps(super().load_config(config_path))
        read: ConfigResult | None = pickle.loads(self._read[config_path])  # noqa: S301  pickled two lines above
        return read

    def __deepcopy__(self, _: dict[int, Any]) -> _Remembering:
        """Each composition works on a copy, which may be given other sources (hydra.searchpath): it then reads anew."""
        return self

    def initialize_sources(self, config_search_path: Any) -> None:
        super().initialize_sources(config_search_path)
        self._read = {}


@contextmanager
def read_once(loader: ConfigLoader) -> Iterator[None]:
    """Within the block the loader reads each file once."""
    assert isinstance(loader, ConfigLoaderImpl)
    before = loader.repository
    loader.repository = _Remembering(before)
    try:
        yield
    finally:
        loader.repository = before
