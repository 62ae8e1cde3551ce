"""A comparison as files: its page, its tables, the winning recipe."""

from __future__ import annotations

from pathlib import Path

from downslope.comparison import Comparison
from downslope.storage import write_atomically


def save(comparison: Comparison, directory: str | Path) -> dict[str, Path]:
    """Write a comparison's files into a directory; give them by what they are."""
    directory = Path(directory)
    texts = {
        "winner": ("winner.toml", comparison.to_toml()),
        "table": ("table.csv", comparison.table.write_csv()),
        "runs": ("runs.csv", comparison.frame.write_csv()),
    }
    files = {}
    for kind, (name, text) in texts.items():
        files[kind] = directory / name
        write_atomically(files[kind], text.encode())
    return files
