"""Device, precision and seed of a piece of work."""

import contextlib
import subprocess
import sys
import types

import pytest
import torch

from cartogene import runtime
from cartogene.errors import ConfigError
from cartogene.runtime import Runtime


class TestDevice:
    def test_is_one_that_is_there(self):
        device = Runtime().torch_device()
        assert torch.empty(1, device=device).device.type == device.type

    def test_can_be_named(self):
        assert Runtime(device="cpu").torch_device() == torch.device("cpu")

    @pytest.mark.parametrize("name", ["quantum", "", "cpu:x"])
    def test_that_does_not_exist_is_refused(self, name):
        with pytest.raises(ConfigError, match=r"^device: found .*, which cannot be used here \(.*\); try 'cpu'"):
            Runtime(device=name).torch_device()

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
    def test_that_is_not_here_is_refused(self):
        with pytest.raises(ConfigError, match="^device: found 'cuda', which cannot be used here"):
            Runtime(device="cuda").torch_device()

    @pytest.mark.parametrize(
        ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
    )
    def test_is_the_fastest_there_is_if_not_named(self, cuda, mps, expected, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        assert Runtime().torch_device().type == expected


class TestPrecision:
    def test_of_another_name_is_refused(self):
        with pytest.raises(ConfigError, match="^precision: found 'float8', expected 'float32', 'bfloat16' or"):
            Runtime(precision="float8")

    def test_float32_changes_nothing(self):
        with Runtime(device="cpu").autocast() as context:
            assert context is None
            assert not torch.is_autocast_enabled("cpu")
        assert isinstance(Runtime().autocast(), contextlib.nullcontext)

    def test_bfloat16_runs_matrices_in_16_bits_and_keeps_weights(self):
        layer = torch.nn.Linear(4, 4)
        with Runtime(device="cpu", precision="bfloat16").autocast():
            assert layer(torch.ones(2, 4)).dtype == torch.bfloat16
        assert layer.weight.dtype == torch.float32


class TestSeed:
    def test_fixes_what_is_drawn(self):
        one, other = (torch.rand(5, generator=Runtime(seed=3).generator(7)) for _ in range(2))
        assert torch.equal(one, other)

    def test_and_step_both_matter(self):
        drawn = [
            tuple(torch.rand(5, generator=Runtime(seed=seed).generator(step)).tolist())
            for seed in range(3)
            for step in (0, 1, 2600)
        ]
        assert len(set(drawn)) == len(drawn)

    def test_fixes_the_weights_of_new_layers(self):
        layers = []
        for _ in range(2):
            Runtime(seed=2).seed_all(4)
            layers.append(torch.nn.Linear(3, 3).weight)
        assert torch.equal(*layers)

    def test_a_generator_leaves_the_global_one_alone(self):
        before = torch.random.get_rng_state()
        Runtime(seed=9).generator(1)
        assert torch.equal(before, torch.random.get_rng_state())


class TestFacts:
    def test_say_what_was_decided(self):
        facts = Runtime(device="cpu", precision="bfloat16", seed=4).describe()
        assert facts == {"device": "cpu", "precision": "bfloat16", "seed": 4, "threads": torch.get_num_threads()}

    def test_memory_is_in_bytes_whatever_the_system_counts_in(self, monkeypatch):
        monkeypatch.setattr(runtime.Path, "exists", lambda _: False)
        monkeypatch.setattr(runtime.resource, "getrusage", lambda _: types.SimpleNamespace(ru_maxrss=3000))
        monkeypatch.setattr(runtime.sys, "platform", "linux")
        assert runtime.peak_memory() == 3000 * 1024
        monkeypatch.setattr(runtime.sys, "platform", "darwin")
        assert runtime.peak_memory() == 3000

    def test_memory_is_what_linux_says_of_this_process_alone(self, monkeypatch):
        said = {"text": "VmPeak:\t 9000 kB\nVmHWM:\t    5000 kB\nVmRSS:\t 4000 kB\n"}
        monkeypatch.setattr(runtime.Path, "exists", lambda _: True)
        monkeypatch.setattr(runtime.Path, "read_text", lambda *_, **__: said["text"])
        monkeypatch.setattr(runtime.resource, "getrusage", lambda _: types.SimpleNamespace(ru_maxrss=3000))
        monkeypatch.setattr(runtime.sys, "platform", "linux")
        assert runtime.peak_memory() == 5000 * 1024
        said["text"] = "VmRSS:\t 4000 kB\n"  # a sandbox may leave the peak out
        assert runtime.peak_memory() == 3000 * 1024

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a child starts from nothing")
    def test_memory_is_not_that_of_the_process_that_started_this_one(self):
        """A parent with a peak of half a gigabyte starts a small child, which inherits that peak in its usage."""
        small = "from cartogene.runtime import peak_memory; print(peak_memory())"
        large = f"import subprocess, sys; held = b'1' * 2**29; subprocess.run([sys.executable, '-c', {small!r}])"
        done = subprocess.run([sys.executable, "-c", large], capture_output=True, text=True, check=True)
        assert 1e6 < int(done.stdout) < 2**29

    def test_memory_is_that_of_a_python_with_torch(self):
        assert 5e7 < runtime.peak_memory() < 1e12

    def test_there_is_at_least_one_core(self, monkeypatch):
        assert runtime.cores() >= 1
        monkeypatch.delattr(runtime.os, "sched_getaffinity", raising=False)
        assert runtime.cores() >= 1
