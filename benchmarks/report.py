"""The figures as a table, as `last.json`, and as the table of README.md."""

import json
import os
import platform
import sqlite3
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure
from benchmarks.processes import program_path
from benchmarks.s3_servers import PEERS, WANTED

LAST: Final = Path(__file__).parent / "last.json"
README: Final = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
PACKAGES: Final = ("entrepot", "uvicorn", "uvloop", "httptools", "sqlalchemy", "multipart")


def table(figures: Sequence[Figure]) -> str:
    """One row a figure: target, measured, met; columns lined up."""
    rows = [("measure", "target", "measured", "lowest to highest", "met", "of what"), *(_cells(one) for one in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row[:5], widths, strict=True)]
        lines.append("| " + " | ".join([*cells, row[5]]) + " |")
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|---|")
    return "\n".join(lines)


def _cells(figure: Figure) -> tuple[str, str, str, str, str, str]:
    unit = f" {figure.unit}"
    measured = f"{figure.value:.4g}{unit}" if figure.value is not None else "no result"
    span = f"{figure.low:.4g} to {figure.high:.4g}" if figure.low is not None else ""
    met = {True: "yes", False: "NO", None: ""}[figure.met]
    target = f"{figure.target}{unit}" if figure.target else ""
    return figure.name, target.rstrip(), measured, span, met, figure.detail


def keep(name: str, figures: Sequence[Figure]) -> None:
    """Write that measure's figures into `last.json`, the others stay; and the table of all into README.md."""
    known: dict[str, Any] = json.loads(LAST.read_text()) if LAST.exists() else {}
    known[name] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "versions": versions(),
        "figures": [
            {**asdict(one), "target": str(one.target) if one.target else None, "met": one.met} for one in figures
        ],
    }
    LAST.write_text(json.dumps(known, indent=1) + "\n")
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n{_markdown(known)}\n{END}{after}")


def _markdown(known: dict[str, Any]) -> str:
    lines = ["| measure | target | measured | lowest to highest | met | of what |", "|---|---|---|---|---|---|"]
    for measure in known.values():
        for one in measure["figures"]:
            value = f"{one['value']:.3g} {one['unit']}" if one["value"] is not None else "no result"
            span = f"{one['low']:.3g} to {one['high']:.3g}" if one["low"] is not None else ""
            met = {True: "yes", False: "**no**", None: ""}[one["met"]]
            lines.append(f"| {one['name']} | {one['target'] or ''} | {value} | {span} | {met} | {one['detail']} |")
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Of everything that takes part."""
    found = {
        "python": platform.python_version(),
        "linux": platform.release().partition("-")[0],
        "openssl": ssl.OPENSSL_VERSION.split()[1],
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in PACKAGES},
    }
    for program in ("docker-registry", "nginx", "skopeo"):
        path = program_path(program)
        if path:
            said = subprocess.run(
                [path, "-v" if program == "nginx" else "--version"], capture_output=True, text=True, check=False
            )
            found[program] = (said.stdout + said.stderr).split()[-1].rpartition("/")[2]
    if PEERS.exists():
        found |= dict(one.split("==") for one in WANTED)
    return found
