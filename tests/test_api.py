"""The Python API: what it takes, what it gives, and that importing it is cheap."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import eve_cli as eve
from eve_cli.errors import UsageError
from eve_cli.models.loading import LoadedModel
from tests.clips import make_clip, pictures, read_clip
from tests.fakes import fake_load

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def model() -> LoadedModel:
    from eve_cli.models.spec import ModelSpec

    return fake_load(gain=0.5)(ModelSpec())


@pytest.fixture
def frames() -> np.ndarray:
    return np.ascontiguousarray(pictures(5).transpose(0, 2, 3, 1))


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, eve_cli; eve_cli.__all__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there_and_documented() -> None:
    assert all(getattr(eve, name).__doc__ for name in eve.__all__ if name != "__version__")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        eve.nothing  # noqa: B018
    assert (ROOT / "eve_cli" / "py.typed").is_file()


def test_a_file_an_array_and_a_tensor_give_the_same_frames(
    frames: np.ndarray, model: LoadedModel, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", pictures(5), fps=8)
    file = eve.edit(clip, "darker", output=tmp_path / "out.mkv", codec="ffv1", model=model)
    array = eve.edit(frames, "darker", model=model)
    tensor = eve.edit(torch.from_numpy(frames).float() / 255, "darker", model=model)
    assert file.output == tmp_path / "out.mkv" and np.array_equal(
        read_clip(file.output).transpose(0, 2, 3, 1), file.frames
    )
    assert array.output is None and array.frames.shape == frames.shape
    assert np.array_equal(array.frames, file.frames) and np.array_equal(tensor.frames, file.frames)
    assert file.change > 0.01 and not np.array_equal(file.frames, frames)


def test_progress_is_reported_and_method_options_are_settings(frames: np.ndarray, model: LoadedModel) -> None:
    stages: list[str] = []
    result = eve.edit(
        frames, "darker", model=model, method="sdedit", strength=0.6, progress=lambda stage, *_: stages.append(stage)
    )
    assert {"edit", "write"} <= set(stages)
    assert result.plan.provenance.settings["strength"] == 0.6


@pytest.mark.parametrize(
    "source", [np.zeros((2, 3, 8, 8), np.uint8), np.zeros((8, 8, 3), np.uint8), torch.zeros(0, 8, 8, 3)]
)
def test_frames_of_another_shape_are_one_sentence(source: object, model: LoadedModel) -> None:
    with pytest.raises(UsageError, match=r"give frames \(frames, height, width, 3\)"):
        eve.edit(source, "darker", model=model)  # type: ignore[arg-type]


@pytest.mark.parametrize("fps", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_one_sentence(fps: float, frames: np.ndarray, model: LoadedModel) -> None:
    with pytest.raises(UsageError, match="fps must be a finite number above 0"):
        eve.edit(frames, "darker", model=model, fps=fps)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(UsageError, match="unknown setting 'stepps'; did you mean steps"):
        eve.edit("clip.mp4", "darker", stepps=3)


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["python_api.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / "python_api.py"), run_name="__main__")
    assert "in memory: (3," in capsys.readouterr().out and (tmp_path / "snowy.mp4").is_file()
