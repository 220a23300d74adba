"""The command `vbench new`: writes a file of conf/ for a model or a GPU of the user's, and says how to use it."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vbench.compose.choices import CONF, known_gpus
from vbench.engine.published import FOLDER, HUB, make_model, read_model
from vbench.host import gpus
from vbench.schema import Gpu, Model, to_plain
from vbench.schema.errors import Refused
from vbench.schema.pasting import say_command

HELP = """\
python -m vbench.compose.new model SOURCE [name=NAME] [hub_id=OWNER/NAME] [dir=FOLDER]
python -m vbench.compose.new gpu [name=NAME] [dir=FOLDER]

Writes a file that vbench chooses by name, and prints the line that uses it.

  model SOURCE   OWNER/NAME or OWNER/NAME@REVISION on the Hugging Face hub (only its config.json is read), a folder
                 with a config.json, or a config.json
  gpu            the first GPU of this host, as NVML reports it; add its peaks and its price by hand

  name=NAME      what model= or hardware=1x takes (default: by the source)
  hub_id=…       where the weights are, if SOURCE is a config.json
  dir=FOLDER     a folder laid out like conf/ (default: conf/ of the checkout; of an installed vbench ./conf, which the
                 printed line finds by hydra.searchpath)

Examples
  python -m vbench.compose.new model Qwen/Qwen3-8B
  python -m vbench.compose.new model downloads/config.json name=mine hub_id=me/mine
  python -m vbench.compose.new gpu name=rtx6000
"""
OPTIONS = {"model": ("name", "hub_id", "dir"), "gpu": ("name", "dir")}
WANTED = {"model": "model takes one SOURCE: OWNER/NAME, a folder, or a config.json", "gpu": "gpu takes no source"}
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
IS_CHECKOUT = (CONF.parent / "pyproject.toml").is_file()


def main(words: Sequence[str]) -> int:
    """Does what the words say. Exit code 0, or 2 if they were refused."""
    try:
        kind, source, options = parse(words)
        path, line = write_model(source, options) if kind == "model" else write_gpu(options)
    except Refused as refused:
        print(f"vbench: new: {refused}", file=sys.stderr)  # noqa: T201
        return 2
    print(f"wrote {path}\nuse it: {line}")  # noqa: T201
    return 0


def parse(words: Sequence[str]) -> tuple[str, str, dict[str, str]]:
    """Kind, source ("" for a GPU) and options. Raises Refused."""
    plain = [word for word in words if "=" not in word]
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if not plain or plain[0] not in OPTIONS:
        raise Refused("say `model SOURCE` or `gpu`; see --help")
    kind, rest = plain[0], plain[1:]
    if len(rest) != (kind == "model"):
        raise Refused(
            "model takes one SOURCE: OWNER/NAME, a folder, or a config.json"
            if kind == "model"
            else "gpu takes no source"
        )
    if unknown := sorted(set(given) - set(OPTIONS[kind])):
        raise Refused(f"{unknown[0]}=: no such option; {kind} takes {', '.join(OPTIONS[kind])}")
    if "name" in given and not NAME.fullmatch(given["name"]):
        raise Refused(f"name={given['name']}: letters, digits, '.', '_' and '-' only, as it names a file")
    return kind, rest[0] if rest else "", given


def write_model(source: str, options: Mapping[str, str]) -> tuple[Path, str]:
    """Writes conf/model/NAME.yaml; returns the file and the command that uses it. Raises Refused."""
    found = _read(source, options.get("hub_id"))
    model = dataclasses.replace(found, name=options.get("name") or found.name.lower())
    comment = f"{found.hub_id.rpartition('/')[2]}. Facts from config.json of {found.hub_id}."
    path = _write(options, "model", model.name, comment, _given(model))
    use = say_command(f"model={model.name}", "engine.weights=dummy", "workload.num_prompts=10")
    return path, f"{use}{_searchpath(path)}"


def write_gpu(options: Mapping[str, str]) -> tuple[Path, str]:
    """Writes conf/gpu/NAME.yaml, or where only a search path finds it, a choice of `hardware`. Raises Refused."""
    here = gpus.find_gpus()
    if not here:
        raise Refused("gpu: this host has no NVIDIA driver, or its driver shows no GPU; run it on a host with the GPU")
    first = here[0]
    for known in known_gpus():
        if re.search(known.product, first.product):
            raise Refused(f"gpu: {first.product} is {known.name} already: hardware=1x{known.name}")
    name = options.get("name") or re.sub(r"\W+", "_", first.product.lower()).strip("_")
    gpu = Gpu(name=name, product=f"^{re.escape(first.product)}$", memory_mib=first.memory_mib)
    facts = {**_given(gpu), "memory_bandwidth_gb_s": None, "bf16_tflops": None, "fp8_tflops": None}
    comment = f"{first.product}. Product and memory as NVML reports them; take the peaks from its datasheet."
    if _folder(options) == CONF:
        path, choice = _write(options, "gpu", name, comment, facts), f"1x{name}"
    else:
        path, choice = _write(options, "hardware", name, comment, {"gpus": len(here), "gpu": facts}), name
    return path, f"{say_command(f'hardware={choice}')}{_searchpath(path)}"


def _read(source: str, hub_id: str | None) -> Model:
    path = Path(source).expanduser()
    if path.is_file():
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise Refused(f"{source}: not JSON: {error}") from error
        if not isinstance(config, dict):
            raise Refused(f"{source}: a config.json holds one object")
        named = hub_id or config.get("_name_or_path") or path.absolute().parent.name
        return make_model(source, str(named), config, None, None)
    if hub_id:
        raise Refused("hub_id=: SOURCE says it already; it is for a config.json alone")
    if path.is_dir():
        return read_model(f"{FOLDER}{path}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", source):
        raise Refused(f"{source}: no such file or folder, and not OWNER/NAME on the hub")
    return read_model(f"{HUB}{source}")


def _given(part: Any) -> dict[str, Any]:
    """The fields of a schema part that differ from their defaults, as plain data."""
    plain = to_plain(part)
    needed = {key: plain[key] for key in ("name", "hub_id", "architecture", "model_type") if key in plain}
    return {**needed, **{key: value for key, value in plain.items() if _differs(type(part), key, value)}}


def _differs(part: type, key: str, value: Any) -> bool:
    default = next(each for each in dataclasses.fields(part) if each.name == key)
    made = default.default_factory() if default.default_factory is not dataclasses.MISSING else default.default
    return bool(to_plain(made) != value)


def _folder(options: Mapping[str, str]) -> Path:
    given = options.get("dir")
    return Path(given).expanduser().absolute() if given else CONF if IS_CHECKOUT else Path("conf").absolute()


def _write(options: Mapping[str, str], group: str, name: str, comment: str, facts: Mapping[str, Any]) -> Path:
    path = _folder(options) / group / f"{name}.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(f"# {comment}\n" + yaml.safe_dump(dict(facts), sort_keys=False, allow_unicode=True))
    except FileExistsError:
        raise Refused(f"{path} exists; give another name=, or remove it") from None
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; name a folder of yours by dir=") from error
    return path


def _searchpath(path: Path) -> str:
    """The override by which Hydra finds the file, if it is not in vbench's own conf/."""
    folder = path.parents[1]
    return "" if folder == CONF else f" {shlex.quote(f'hydra.searchpath=[file://{folder}]')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
