"""The schema as OmegaConf containers that Hydra can compose into."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf


def make_container(part: type) -> DictConfig:
    """A config dataclass with its defaults, as a container that takes values."""
    node: DictConfig = OmegaConf.structured(part)
    _thaw(node)
    return node


def _thaw(node: DictConfig) -> None:
    """Frozen dataclasses make read-only containers; while a config is being composed it must still take values."""
    OmegaConf.set_readonly(node, None)
    for key in node:
        child = node._get_node(key)  # noqa: SLF001  node[key] does not show the container of a null
        if isinstance(child, DictConfig):
            OmegaConf.set_readonly(child, None)
            if OmegaConf.is_dict(node[key]):
                _thaw(child)
