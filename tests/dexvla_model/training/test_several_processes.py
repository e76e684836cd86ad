"""Training with several processes, and runs that are killed: started as a user starts them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from dexvla_model.checkpoint import load_checkpoint
from dexvla_model.resources import find_resource

pytestmark = pytest.mark.slow

# Accelerate shares weights between GPUs only; this lets it do so between two processes on a CPU.
SHARED = """
import sys
import accelerate
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.tensor import DTensor

original = accelerate.Accelerator.__init__


def on_cpus(self, *arguments, **options):
    original(self, *arguments, **options)
    self.state.distributed_type = DistributedType.FSDP
    self.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["Qwen2VLDecoderLayer", "Qwen2VLVisionBlock"],
        cpu_ram_efficient_loading=False,
    )


prepare = accelerate.Accelerator.prepare


def counting(self, *objects, **options):
    prepared = prepare(self, *objects, **options)
    print("SHARED", all(isinstance(weight, DTensor) for weight in prepared[0].parameters()), flush=True)
    return prepared


accelerate.Accelerator.__init__, accelerate.Accelerator.prepare = on_cpus, counting
from dexvla_ros.cli.main import main

main()
"""


def losses(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: (line["loss"], line["action_loss"]) for line in lines}


def run(command, environment):
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def test_the_command_of_the_configuration_file_trains_on_two_processes(stage_file, cpu_environment, tmp_path):
    path = stage_file(1, tmp_path / "run")
    accelerate = [sys.executable, "-m", "accelerate.commands.launch"]
    config = ["--config_file", str(find_resource("config/training/accelerate/cpu.yaml"))]
    run([*accelerate, *config, "-m", "dexvla_ros.cli.main", "train", "--config", str(path)], cpu_environment)
    assert list(losses(tmp_path / "run")) == [1, 2]
    assert load_checkpoint(tmp_path / "run" / "checkpoint").provenance["steps"] == 2


def test_weights_may_be_shared_between_processes(stage_file, stage1, cpu_environment, tmp_path):
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    two = [*launch, str(script), "train"]
    for name, steps in (("whole", 4), ("stopped", 2), ("stopped", 4)):
        path = stage_file(
            2,
            tmp_path / name,
            initial_checkpoint=str(stage1 / "checkpoint"),
            # A schedule that does not know how long the run is.
            optimization={"steps": steps, "muon_learning_rate": 0.0, "schedule": "constant"},
        )
        done = run([*two, "--config", str(path)], cpu_environment)
        assert done.stdout.count("SHARED True") == 2
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    ours = load_checkpoint(tmp_path / "stopped" / "checkpoint").model.state_dict()
    theirs = load_checkpoint(tmp_path / "whole" / "checkpoint").model.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_killed_run_goes_on_with_the_same_losses(stage_file, stage_trainer, cpu_environment, tmp_path):
    options = {
        "optimization": {"steps": 40, "workers": 1},
        "logging": {"log_every_steps": 1, "checkpoint_every_steps": 5},
    }
    stage_trainer(1, tmp_path / "whole", **options).run()
    path = stage_file(1, tmp_path / "killed", **options)
    command = [sys.executable, "-m", "dexvla_ros.cli.main", "train", "--config", str(path)]
    silent = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=cpu_environment, **silent)
    log, until = tmp_path / "killed" / "log.jsonl", time.monotonic() + 600
    while time.monotonic() < until and process.poll() is None:
        if log.is_file() and len(log.read_text().splitlines()) > 11:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed = stage_trainer(1, tmp_path / "killed", **options)
    assert 5 <= resumed.step <= 40 and resumed.step % 5 == 0
    resumed.run()
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
