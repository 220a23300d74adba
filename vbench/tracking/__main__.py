"""`python -m vbench.tracking`: the addresses of the pages that `make ui` serves, an experiment a line."""

from __future__ import annotations

import sys

from vbench.schema.errors import VbenchError
from vbench.tracking import list_pages


def main() -> int:
    """Returns the exit code: 0; 1 if the store cannot be read."""
    try:
        pages = list_pages()
    except VbenchError as error:
        print(f"vbench: {error}", file=sys.stderr)  # noqa: T201
        return 1
    width = max(map(len, pages), default=0)
    for experiment, page in pages.items():
        print(f"{experiment:{width}}  {page}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
