"""The README's table of methods, made from their docstrings."""

import re

from skipstone.commands.methods import Method, catalogue

TABLE = re.compile(r"(<!-- methods: [^\n]*-->\n).*?(<!-- end of methods -->)", re.DOTALL)


def with_table(readme: str) -> str:
    """The README with a line for each method and for all that is added to methods."""
    head = "| method | what it does | source |\n|---|---|---|\n"
    table = head + "".join(_row(method) for method in catalogue() if method.is_own)
    return TABLE.sub(lambda found: found[1] + table + found[2], readme)


def _row(method: Method) -> str:
    source = re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", method.source)
    return f"| `{method.typed}` | {method.claim.replace('``', '`')} | {source} |\n"
