"""Ctrl-C and a polite kill, sent to a real process in the middle of a run."""

import signal
import subprocess
import sys

import pytest

# The step after the embedding waits to be interrupted; a shell that runs tests in the background may ignore Ctrl-C.
WAITING = """
import signal, sys, time
from cartogene import job
from cartogene.cli.main import app

def wait(*_, **__):
    print("waiting", file=sys.stderr, flush=True)
    time.sleep(120)

signal.signal(signal.SIGINT, signal.default_int_handler)
job.umap = wait
app()
"""


@pytest.mark.parametrize(
    ("sent", "overwrite"),
    [(signal.SIGINT, False), (signal.SIGTERM, True)],
    ids=["SIGINT, a new folder", "SIGTERM, overwriting"],
)
def test_an_interrupted_process_ends_with_130_and_leaves_no_half_written_folder(file, model, tmp_path, sent, overwrite):
    if overwrite:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "report.html").write_text("the former report")
    words = ["run", file, "--out", tmp_path / "out", "--model", model, *(["--overwrite"] if overwrite else [])]
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, *map(str, words)], stderr=subprocess.PIPE, text=True
    ) as process:
        told = []
        for line in process.stderr:
            told.append(line)
            if line == "waiting\n":
                assert (tmp_path / ".out.unfinished").is_dir()
                process.send_signal(sent)
    assert process.returncode == 130, told
    assert told[-1].startswith("interrupted: nothing half-written is left")
    assert not any("Traceback" in line for line in told)
    left = {"blood.h5ad", "small.safetensors"} | ({"out"} if overwrite else set())
    assert {path.name for path in tmp_path.iterdir()} == left
    if overwrite:
        assert (tmp_path / "out" / "report.html").read_text() == "the former report"
