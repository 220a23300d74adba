"""The files of a run without secrets, for what leaves its folder: earlier versions wrote some of them with secrets."""

from __future__ import annotations

import io
import json

import numpy as np

from vbench.schema import columns
from vbench.schema.secrets import list_values, redact, redact_plain


def redact_file(name: str, data: bytes) -> bytes:
    """The bytes of a file of this name with its secrets masked; the same bytes if it has none."""
    if name.endswith(".npz"):
        return _redact_columns(data)
    text = data.decode("utf-8", "surrogateescape")
    if name.endswith(".json"):
        return (_redact_json(text, indent=1) or _redact_lines(text)).encode("utf-8", "surrogateescape")
    if name.endswith(".jsonl"):
        lines = (_redact_json(line, indent=None) or _redact_lines(line) for line in text.split("\n"))
        return "\n".join(lines).encode("utf-8", "surrogateescape")
    return _redact_lines(text).encode("utf-8", "surrogateescape")


def _redact_json(text: str, indent: int | None) -> str | None:
    """None if the text is no JSON, as a line that a crash cut."""
    try:
        facts = json.loads(text)
        masked = redact_plain(facts)
        return text if masked == facts else json.dumps(masked, indent=indent)
    except (ValueError, RecursionError):
        return None


def _redact_lines(text: str) -> str:
    values = list_values()
    return "\n".join(redact(line, values) for line in text.split("\n"))


def _redact_columns(data: bytes) -> bytes:
    """A server's error may repeat the key that it was sent. A file that cannot be read stays as it is."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except columns.MISFITS:
        return data
    values = list_values()
    masked = {name: _redact_column(column, values) for name, column in found.items()}
    if all(masked[name] is column for name, column in found.items()):
        return data
    out = io.BytesIO()
    columns.write_columns(out, masked)
    return out.getvalue()


def _redact_column(column: columns.Column, values: tuple[str, ...]) -> columns.Column:
    if column.dtype.kind != "U":
        return column
    masks = {text: redact(text, values) for text in set(column.ravel().tolist())}
    if all(text == mask for text, mask in masks.items()):
        return column
    return np.array([masks[text] for text in column.ravel().tolist()]).reshape(column.shape)
