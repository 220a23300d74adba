"""Hydra over vbench's own configs, as its command line sets it up, for the tests of a module."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import setup_globals

from vbench import compose as ours
from vbench.campaign import launcher
from vbench.compose import configfiles


@pytest.fixture(scope="module")
def hydra():
    setup_globals()
    launcher.register()
    ours.register()
    with (
        initialize_config_dir(str(ours.CONF), version_base="1.3"),
        configfiles.read_once(GlobalHydra.instance().config_loader()),
    ):
        yield
