"""The demo cells come with the installation."""

import socket
import subprocess
import sys

import numpy as np

from cartogene import datasets


class TestPbmc68k:
    def test_are_700_cells_as_scanpy_ships_them(self):
        cells = datasets.pbmc68k()
        assert cells.shape == (700, 765)
        assert cells.X.min() < 0
        assert cells.raw.shape == (700, 765)
        assert cells.obs["bulk_labels"].nunique() == 10
        assert (cells.obs["n_counts"] > 500).all()
        assert not np.array_equal(cells.raw.X.data, np.rint(cells.raw.X.data))

    def test_need_no_network(self, monkeypatch):
        def refuse(*_args, **_options):
            raise AssertionError("the network was asked")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        assert datasets.pbmc68k().n_obs == 700

    def test_can_be_changed_without_changing_the_next(self):
        datasets.pbmc68k().X[:] = 0
        assert datasets.pbmc68k().X.max() > 1


def test_importing_the_room_is_light():
    story = "import sys; import cartogene.datasets; print({'scanpy', 'anndata', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
