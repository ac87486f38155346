"""Write the README's table of methods from their docstrings; ``--check`` only says whether it is stale."""

import re
import sys
from pathlib import Path

from skipstone.commands.methods import Method, catalogue

README = Path(__file__).parents[2] / "README.md"
TABLE = re.compile(r"(<!-- methods: [^\n]*-->\n).*?(<!-- end of methods -->)", re.DOTALL)


def table() -> str:
    """The table in Markdown, a line for each method and predictor."""
    head = "| method | what it does | source |\n|---|---|---|\n"
    return head + "".join(map(_row, catalogue()))


def _row(method: Method) -> str:
    name = method.name if method.kind == "method" else f"+{method.name}"
    source = re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", method.source)
    return f"| `{name}` | {method.claim.replace('``', '`')} | {source} |\n"


def main() -> int:
    old = README.read_text()
    new = TABLE.sub(lambda found: found[1] + table() + found[2], old)
    if "--check" in sys.argv:
        return int(new != old)
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
