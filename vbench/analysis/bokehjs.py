"""The JavaScript library of the interactive figure, as the installed package `bokeh` carries it.

Only its files are read: importing bokeh would take longer than the whole figure.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

FILES = ("bokeh.min.js", "bokeh-api.min.js")


@cache
def load_bokehjs() -> str:
    """The text of the library, for a script element; BSD-3-Clause, with its notice. Raises ImportError without it."""
    spec = find_spec("bokeh")
    if spec is None or spec.origin is None:
        raise ImportError("bokeh is not installed")
    folder = Path(spec.origin).parent / "server" / "static" / "js"
    return "\n".join((folder / name).read_text("utf-8") for name in FILES).replace("</script", "<\\/script")
