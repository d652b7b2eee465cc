"""Count lines of code: no docstrings, comments or blank lines. `python tests/code_lines.py`."""

import ast
import io
import sys
import tokenize
from pathlib import Path

LAYOUT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(source: str) -> int:
    """Return the number of lines that hold code; a text over three lines counts as three."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def count(package: Path) -> dict[str, int]:
    """Return the code lines of every file of a package, by its path in the package."""
    return {
        path.relative_to(package).as_posix(): code_lines(path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
    }


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    for name in sys.argv[1:] or ("medlib", "coursekit"):
        files = count(root / name)
        for path, lines in files.items():
            print(f"{lines:6,d}  {name}/{path}")
        checks = sum(lines for path, lines in files.items() if path.startswith("check/"))
        without = f", {sum(files.values()) - checks:,d} without check" if checks else ""
        print(f"{sum(files.values()):6,d}  {name}{without}\n")
