"""Where and when a benchmark ran: what stands above its table."""

import os
import platform
import shlex
import sys
from datetime import date
from pathlib import Path

import torch


def describe_run() -> dict[str, str]:
    """Date, machine and command of this run."""
    return {
        "date": date.today().isoformat(),
        "CPU": f"{_cpu_name()}, {os.cpu_count()} cores",
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "command": shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]]),
    }


def markdown_heading(run: dict[str, str]) -> str:
    return f"{run['date']}; {run['CPU']}; torch {run['torch']}; `{run['command']}`"


def markdown_table(columns: list[str], rows: list[list[str]]) -> str:
    """The first column is aligned left, the others right."""
    rule = ["---", *["---:" for _ in columns[1:]]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [columns, rule, *rows])


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
