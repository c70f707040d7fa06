"""Find out whether the main job ends well on every file of a folder, or with a refusal that says why.

    python benchmarks/every_file.py --data ../shared/data/expression --out benchmarks/results/every_file.csv

Runs ``cartogene run FILE --out DIR`` for each h5ad file in a folder, `--jobs` at a time with one thread each, and keeps
one row per file: how it ended, the last message, seconds, peak memory, what was found. Files already in the table are
left out, so an interrupted call goes on. ``--more "--genes 300"`` and the like is handed to every run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import anndata
import pandas as pd

COLUMNS = ["file", "ended", "cells", "genes known", "outside", "networks", "seconds", "peak GB", "why"]


def run(file: Path, more: list[str]) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as place:
        out, began = Path(place) / "results", time.perf_counter()
        command = [
            sys.executable,
            "-c",
            "from cartogene.cli.main import app; app()",
            "run",
            str(file),
            "--out",
            str(out),
        ]
        single = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=False, env=single)
        row: dict[str, object] = {"file": file.name, "seconds": round(time.perf_counter() - began, 1)}
        said = [line for line in done.stderr.strip().split("\n") if line.strip()]
        if done.returncode:
            refused = done.returncode == 1 and "Traceback" not in done.stderr
            return row | {"ended": "refused" if refused else "FAILED", "why": said[-1] if said else ""}
        made = json.loads((out / "run.json").read_text())
        labels = anndata.read_h5ad(out / "cells.h5ad", backed="r").obs["cartogene_cell_type"].astype(str)
        return row | {
            "ended": "finished",
            "cells": len(labels),
            "genes known": made["found"]["genes"],
            "outside": round(float((labels == "outside this model").mean()), 3),
            "networks": len(list((out / "networks").glob("*.parquet"))),
            "peak GB": round(made["peak_memory_bytes"] / 2**30, 2),
            "why": "",
        }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--out", type=Path, required=True)
    ask.add_argument("--jobs", type=int, default=2)
    ask.add_argument("--more", default="")
    asked = ask.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(asked.out).to_dict("records") if asked.out.exists() else []
    known = {row["file"] for row in rows}
    files = sorted(asked.data.glob("*.h5ad"), key=lambda path: -path.stat().st_size)
    with ThreadPoolExecutor(asked.jobs) as pool:
        todo = [pool.submit(run, file, asked.more.split()) for file in files if file.name not in known]
        for done in as_completed(todo):
            rows.append(done.result())
            pd.DataFrame(rows, columns=COLUMNS).sort_values("file").to_csv(asked.out, index=False)
            print({key: rows[-1].get(key) for key in COLUMNS}, flush=True)
    print(pd.Series([row["ended"] for row in rows]).value_counts().to_string())


if __name__ == "__main__":
    main()
