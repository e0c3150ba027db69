"""Run measurements and write them into RESULTS.md, each group between its own markers, with machine and date."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
HEAD = """# Measured

Written by `make bench`, `make proof` and `make gpu`; each row was measured beside its peer in one run. A bar that is not
reached says so. Times on shared machines swing: read the ratios.
"""


def modules(kind: str) -> list[str]:
    """Return the names of the measurements of a kind ("bench", "tune", "proof", "gpu")."""
    return sorted(path.stem for path in HERE.glob(f"{kind}_*.py"))


def measure(name: str, quick: bool) -> list[dict[str, Any]]:
    """Run one measurement in a process of its own, so that none disturbs the next; failures become a row."""
    code = (
        f"import json, sys; sys.path.insert(0, {str(HERE.parent.parent)!r}); "
        f"import tests.benchmarks.{name} as m; print('\\n@@' + json.dumps(m.rows({quick})))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    found = re.search(r"^@@(.*)$", done.stdout, re.MULTILINE)
    if found is None:
        return [
            {
                "name": name,
                "value": "failed",
                "unit": "",
                "bar": "",
                "ok": False,
                "note": f"status {done.returncode}",
            }
        ]
    return json.loads(found[1])


def machine() -> str:
    """Return one line that says where this was measured."""
    model = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists():
        match = re.search(r"model name\s*:\s*(.+)", info.read_text())
        model = match[1] if match else model
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | measured | bar | reached | note |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        value = f"{row['value']:.4g}" if isinstance(row["value"], float) else str(row["value"])
        reached = {True: "yes", False: "**no**", None: ""}[row.get("ok")]
        lines.append(
            f"| {row['name']} | {value} {row.get('unit', '')} | {row.get('bar', '')} | {reached} | {row.get('note', '')} |"
        )
    return "\n".join(lines)


def write(name: str, rows: list[dict[str, Any]], device: str) -> None:
    """Put the rows of one measurement into RESULTS.md, in place of its earlier ones."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else HEAD
    title = (importlib.import_module(f"tests.benchmarks.{name}").__doc__ or name).strip().splitlines()[0]
    block = f"## {title}\n\n{time.strftime('%Y-%m-%d')}, {device}\n\n{table(rows)}\n"
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    whole = f"{start}\n{block}{end}"
    text = pattern.sub(lambda _: whole, text) if pattern.search(text) else f"{text.rstrip()}\n\n{whole}\n"
    RESULTS.write_text(text, encoding="utf-8")


def main() -> int:
    """Measure what was asked for; exit status 1 when a measurement itself failed (not when a bar was missed)."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("kind", choices=("bench", "tune", "proof", "gpu"))
    parser.add_argument("--only", default="", help="measure only those whose name contains this")
    parser.add_argument("--quick", action="store_true", help="smaller sizes; does not write RESULTS.md")
    arguments = parser.parse_args()
    failed = False
    for name in modules(arguments.kind):
        if arguments.only not in name:
            continue
        print(f"{name} …", flush=True)
        rows = measure(name, arguments.quick)
        print(table(rows), flush=True)
        failed |= any(row["value"] == "failed" for row in rows)
        if not arguments.quick:
            write(name, rows, machine())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
