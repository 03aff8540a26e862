"""The loop: resuming changes nothing, several processes agree, and errors say what went wrong."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from eve_cli.errors import EveError, UsageError
from eve_cli.training import checkpoint, loop, record
from eve_cli.training.settings import LoopSettings

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("toy.py")
_spec = importlib.util.spec_from_file_location("toy_recipe", SCRIPT)
assert _spec is not None and _spec.loader is not None
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)
Toy = toy.Toy


def settings(**changes: object) -> LoopSettings:
    return LoopSettings(**{**toy.SETTINGS, **changes})


def start(folder: Path, launcher: tuple[str, ...] = (), **options: object) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), json.dumps(options)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def losses(folder: Path) -> list[tuple]:
    return [(row["step"], row["square"], row["_absolute"], row["lr"]) for row in record.read(folder)]


def weights(recipe: object) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in recipe.net.state_dict().items()}  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("unbroken")
    recipe = Toy()
    loop.run(recipe, settings(), folder)
    return folder, weights(recipe)


@pytest.mark.slow
def test_a_killed_run_resumes_as_if_it_had_not_been_killed(tmp_path: Path, unbroken: tuple) -> None:
    folder, expected = unbroken
    process = start(tmp_path, pause=0.02)
    wait_for(tmp_path / "checkpoints" / "step-00000020", process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(losses(tmp_path)) < 20
    recipe = Toy(seed=0)
    outcome = loop.run(recipe, settings(), tmp_path, resume=True)
    assert outcome.step == 60
    assert losses(tmp_path) == losses(folder)
    assert all(torch.equal(value, expected[key]) for key, value in weights(recipe).items())


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_are_drawn_in_full_precision(tmp_path: Path, prefetch: int) -> None:
    class Watching(Toy):
        def batch(self, step: int, rank: int) -> dict[str, torch.Tensor]:
            assert not torch.is_autocast_enabled("cpu")
            return super().batch(step, rank)

    loop.run(Watching(), settings(steps=2, precision="bf16", prefetch=prefetch), tmp_path)


@pytest.mark.slow
def test_ctrl_c_saves_the_current_step(tmp_path: Path, unbroken: tuple) -> None:
    process = start(tmp_path, pause=0.02)
    wait_for(tmp_path / "checkpoints" / "step-00000010", process)
    process.send_signal(signal.SIGINT)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert json.loads((tmp_path / "end-0.json").read_text())["interrupted"]
    loop.run(Toy(), settings(), tmp_path, resume=True)
    assert losses(tmp_path) == losses(unbroken[0])


@pytest.mark.slow
def test_two_processes_hold_the_same_weights(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    process = start(tmp_path, launcher, steps=8, ema=0)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    first, second = (json.loads((tmp_path / f"end-{rank}.json").read_text())["weights"] for rank in (0, 1))
    # the trained tensors; batch norm's running figures are each process's own
    assert first[:4] == second[:4] and first[-2:] == second[-2:]
    alone = Toy()
    loop.run(alone, settings(steps=8, ema=0), tmp_path / "alone")
    assert weights(alone)["0.weight"].flatten().tolist() != first[0]


class Deterministic(Toy):
    """The toy without noise, dropout and batch norm; each of its batches joins `joined` of the toy's."""

    def __init__(self, joined: int) -> None:
        super().__init__()
        self.net, self.joined = torch.nn.Sequential(self.net[0], self.net[3], self.net[4]), joined
        self.modules = {"net": self.net}

    def batch(self, step: int, rank: int) -> dict[str, torch.Tensor]:
        parts = [super(Deterministic, self).batch(step * self.joined + i, rank) for i in range(self.joined)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def step(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"square": (self.net(batch["x"]) - batch["y"]).square().mean()}


def test_accumulated_batches_train_as_one_large_batch(tmp_path: Path) -> None:
    trained = []
    for joined, accumulate in ((1, 3), (3, 1), (1, 1)):
        recipe, chosen = Deterministic(joined), settings(steps=4, accumulate=accumulate, precision="no")
        outcome = loop.run(recipe, chosen, tmp_path / f"{joined}-{accumulate}")
        assert outcome.step == 4
        trained.append(weights(recipe))
    for name, value in trained[0].items():
        torch.testing.assert_close(value, trained[1][name], rtol=1e-5, atol=1e-6)
    assert any(not torch.allclose(value, trained[2][name], rtol=1e-3) for name, value in trained[0].items())


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(EveError, match=r"loss, square was not a finite number at step 24.*step-00000020"):
        loop.run(Toy(poison=23), settings(), tmp_path)
    assert [p.name for p in checkpoint.folders(tmp_path)] == ["step-00000010", "step-00000020"]


def test_a_measurement_may_be_infinite(tmp_path: Path) -> None:
    recipe = Toy()
    plain = recipe.step
    recipe.step = lambda batch: plain(batch) | {"_psnr": torch.tensor(float("inf"))}  # type: ignore[method-assign]
    assert loop.run(recipe, settings(steps=3), tmp_path).losses["_psnr"] == float("inf")


def test_losses_may_come_and_go(tmp_path: Path) -> None:
    recipe = Toy()
    plain = recipe.step
    recipe.step = lambda batch: plain(batch) | ({} if recipe.progress < 0.5 else {"late": torch.tensor(1.0)})  # type: ignore[method-assign]
    loop.run(recipe, settings(steps=6, log_every=2), tmp_path)
    assert [row.get("late") for row in record.read(tmp_path)] == [None, 1.0, 1.0]


def test_an_error_while_drawing_reaches_the_caller(tmp_path: Path) -> None:
    recipe = Toy()
    recipe.batch = lambda step, rank: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        loop.run(recipe, settings(), tmp_path)


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_minutes_end_a_run_and_lower_the_learning_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    recipe, events = Toy(), []
    plain = recipe.step

    def step(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        clock.now += 0.05
        return plain(batch)

    recipe.step = step  # type: ignore[method-assign]
    limit = settings(steps=None, minutes=0.02, preview_every=0, log_every=1)
    outcome = loop.run(recipe, limit, tmp_path, events.append)
    assert outcome.step == 24 and outcome.seconds == pytest.approx(1.2)
    rates = [event.lr for event in events if event.kind == "progress"]
    assert rates[-1] < 0.2 * max(rates) and max(rates) == pytest.approx(0.01)
    assert events[0].kind == "started" and events[-1].kind == "done"


def test_only_two_checkpoints_are_kept_and_no_part_of_another(unbroken: tuple) -> None:
    names = sorted(path.name for path in (unbroken[0] / "checkpoints").iterdir())
    assert names == ["step-00000050", "step-00000060"]
    files = {path.name for path in (unbroken[0] / "checkpoints" / names[0]).iterdir()}
    assert files == {"modules.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"}


def test_a_failed_save_keeps_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = checkpoint.save(tmp_path, checkpoint.Checkpoint({"modules": {"a": torch.ones(2)}}, {"step": 1}))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EveError, match="No space left"):
        checkpoint.save(tmp_path, checkpoint.Checkpoint({"modules": {"a": torch.zeros(2)}}, {"step": 2}))
    assert checkpoint.latest(tmp_path) == kept
    assert checkpoint.load(kept).tensors["modules"]["a"].tolist() == [1, 1]


def test_the_average_ends_in_the_modules_and_the_raw_weights_in_the_checkpoint(unbroken: tuple) -> None:
    saved = checkpoint.load(unbroken[0] / "checkpoints" / "step-00000060")
    raw, average = saved.tensors["modules"]["net/0.weight"], saved.tensors["ema"]["net/0.weight"]
    assert torch.equal(unbroken[1]["0.weight"], average) and not torch.equal(raw, average)


def test_a_run_in_the_folder_is_not_overwritten(unbroken: tuple) -> None:
    with pytest.raises(UsageError, match="--resume"):
        loop.run(Toy(), settings(), unbroken[0])


def test_a_resumed_run_keeps_its_settings(unbroken: tuple) -> None:
    with pytest.raises(UsageError, match=r"lr was 0\.01, is now 0\.02"):
        loop.run(Toy(), settings(lr=0.02), unbroken[0], resume=True)


def test_mixed_precision_may_change_between_runs(tmp_path: Path) -> None:
    for precision in ("no", "bf16"):
        loop.run(Toy(), settings(steps=2, precision=precision), tmp_path / precision)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="fp16"):
            loop.run(Toy(), settings(steps=2, precision="fp16"), tmp_path / "fp16")


def test_previews_and_tensorboard_are_written(unbroken: tuple) -> None:
    folder = unbroken[0]
    assert sorted(p.name for p in (folder / "previews").iterdir()) == [
        f"step-{step:08d}.png" for step in (0, 20, 40, 60)
    ]
    assert any((folder / "tensorboard").iterdir())


def test_the_learning_rate_rises_and_falls() -> None:
    s = LoopSettings(steps=100, warmup=10, decay_fraction=0.5)
    factors = [loop.lr_factor(s, step, step / 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == factors[50] == 1
    assert factors[75] == pytest.approx(0.5) and factors[100] == 0


@pytest.mark.parametrize("wrong", [{}, {"steps": 0}, {"steps": 1, "precision": "fp8"}, {"minutes": -1.0}])
def test_wrong_settings_are_usage_errors(wrong: dict) -> None:
    with pytest.raises(UsageError):
        LoopSettings(**wrong)
