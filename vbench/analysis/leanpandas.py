"""Imports pandas without pyarrow, before any other module of this room imports it.

pandas loads pyarrow wherever it is installed, as it is beside MLflow, and keeps text in its arrays. A report has few
texts in short columns, for which Python's own strings are as fast, and pyarrow takes a fifth of a report's memory. Only
pandas does without: whatever imports pyarrow later gets it.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def import_lean_pandas() -> None:
    """Does nothing if pandas is imported already."""
    if "pandas" in sys.modules:
        return
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "pyarrow"}
    modules: dict[str, Any] = sys.modules
    modules["pyarrow"] = None  # importing it raises ImportError
    try:
        importlib.import_module("pandas")
    finally:
        del sys.modules["pyarrow"]
        sys.modules.update(loaded)
