"""Settings of `eve align`: flags, TOML tables, recipes, and errors that name what is wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from eve_cli.alignment import pipeline
from eve_cli.alignment.settings import AlignSettings, ResolvedTeacher, TeacherSettings, align_recipe
from eve_cli.cli import app
from eve_cli.errors import UsageError
from eve_cli.settings import from_mapping, to_mapping
from eve_cli.training import session
from tests.tiny import tiny_bundle


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[AlignSettings]:
    """The settings with which the command starts a run; nothing is run."""
    seen: list[AlignSettings] = []

    def run(settings: AlignSettings, on_event: object) -> session.Trained:
        seen.append(settings)
        raise UsageError("stopped by the test")

    monkeypatch.setattr(pipeline, "run", run)
    monkeypatch.setattr(pipeline, "check", lambda settings: Path())
    return seen


def test_without_flags_the_teachers_are_those_of_the_recipe() -> None:
    settings = AlignSettings()
    assert settings.teachers == ("edit", "video")
    assert settings.resolved_teacher("edit") == ResolvedTeacher(0.9, (0.02, 0.6), None, "all")
    assert settings.resolved_teacher("video") == ResolvedTeacher(0.1, (0.02, 0.3), None, "change")


@pytest.mark.parametrize("words", [["--teachers", "edit,video"], ["--teacher", "edit", "--teacher", "video"]])
def test_teachers_are_named_with_commas_or_one_by_one(words: list[str], chosen: list[AlignSettings]) -> None:
    app.run(["align", *words])
    assert chosen == [AlignSettings()]


def test_flags_set_one_teacher_and_leave_the_others(chosen: list[AlignSettings]) -> None:
    flags = ["--teacher-weight", "edit=0.8", "--teacher-t-range", "edit=.05:.5", "--teacher-guidance", "video=1.5"]
    app.run(["align", *flags, "--error-component", "edit=mean"])
    (settings,) = chosen
    assert settings.resolved_teacher("edit") == ResolvedTeacher(0.8, (0.05, 0.5), None, "mean")
    assert settings.resolved_teacher("video") == ResolvedTeacher(0.1, (0.02, 0.3), 1.5, "change")


def test_flags_win_over_the_tables_of_a_file(tmp_path: Path, chosen: list[AlignSettings]) -> None:
    file = tmp_path / "align.toml"
    file.write_text('teachers = ["edit", "video"]\n[teacher.edit]\nweight = 0.9\nt_range = [0.02, 0.6]\nguidance = 2\n')
    app.run(["align", "--config", str(file), "--teacher-weight", "edit=0.5"])
    (settings,) = chosen
    assert settings.teacher == {"edit": TeacherSettings(0.5, (0.02, 0.6), 2.0)}
    assert from_mapping(AlignSettings, to_mapping(settings), "again") == settings


def test_a_lora_teacher_takes_its_recipe(chosen: list[AlignSettings]) -> None:
    app.run(["align", "--teachers", "edit,lora:runs/lora/lora", "--teacher-weight", "lora=0.8"])
    (settings,) = chosen
    assert (settings.recipe, settings.steps, settings.teachers) == ("lora", 80, ("edit", "lora:runs/lora/lora"))
    assert settings.resolved_teacher("lora") == ResolvedTeacher(0.8, (0.3, 0.8), 3.0)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--teacher-weight vidoe=0.5", "'vidoe', which is not in this run; known are: edit, video. Did you mean video"),
        ("--teacher-t-range vidoe=0.1:0.2", "'vidoe', which is not in this run; known are: edit, video."),
        ("--teacher-guidance edti=2", "'edti', which is not in this run; known are: edit, video. Did you mean edit"),
        ("--error-component vidoe=mean", "'vidoe', which is not in this run; known are: edit, video."),
        ("--teachers edit --teacher-weight video=1", "'video', which is not in this run; known are: edit."),
        ("--teacher-weight edit=much", "--teacher-weight must look like TEACHER=NUMBER, not 'edit=much'"),
        ("--teacher-weight edit", "--teacher-weight must look like TEACHER=NUMBER, not 'edit'"),
        ("--teacher-weight edit=-1", "weight must be 0 or more, not -1.0"),
        ("--teacher-weight edit=1 --teacher-weight edit=2", "--teacher-weight names edit twice"),
        ("--teacher-t-range edit=0.1", "--teacher-t-range must look like TEACHER=LOW:HIGH, not 'edit=0.1'"),
        ("--teacher-t-range edit=0.1:0.2:0.3", "--teacher-t-range must look like TEACHER=LOW:HIGH"),
        ("--teacher-t-range edit=0.9:0.1", "must rise within 0-1, not from 0.9 to 0.1"),
        ("--error-component video=motion", "error_component must be all or mean or change, not 'motion'"),
        ("--teachers edit,edit", "--teachers names a teacher twice"),
        ("--teachers ,", "--teachers is empty"),
        ("--recipe papers", "--recipe must be one of mini, paper, lora"),
    ],
)
def test_mistakes_are_usage_errors(words: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["align", *words.split()]) == 2
    shown = capsys.readouterr()
    assert text in shown.err and shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("[teacher.vidoe]\nweight = 1", "'vidoe', which is not in this run"),
        ("[teacher.edit]\nweigth = 1", "unknown setting 'weigth'; did you mean weight?"),
        ("[teacher.edit]\nt_range = [0.1]", "t_range must be a list"),
        ("[teacher.edit]\nweight = 'much'", "weight must be float"),
        ("[teacher]\nedit = 0.9", "teacher.edit must be a table"),
    ],
)
def test_mistakes_in_a_file_are_usage_errors(
    table: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "align.toml").write_text(table + "\n")
    assert app.run(["align", "--config", str(tmp_path / "align.toml")]) == 2
    assert text in capsys.readouterr().err


def test_every_recipe_gives_settings() -> None:
    for name in ("mini", "paper", "lora"):
        assert AlignSettings(**align_recipe({"recipe": name})).recipe == name


@pytest.mark.slow
def test_a_resumed_run_keeps_its_alignment_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = AlignSettings(
        model=str(tiny_bundle(tmp_path / "tiny")),
        out=tmp_path / "run",
        cache=tmp_path / "points",
        steps=1,
        batch=1,
        points=2,
        rank=2,
        teacher_steps=1,
        adversarial_start=1.0,
        preview_every=0,
    )
    pipeline.run(settings)
    for change, text in (
        ({"distillation_weight": 1.0}, r"distillation_weight was 2\.5, is now 1\.0"),
        ({"teacher": {"edit": TeacherSettings(weight=0.5)}}, r"teacher was \{\}, is now .*0\.5"),
    ):
        with pytest.raises(UsageError, match=text):
            pipeline.run(replace(settings, steps=2, resume=True, **change))
    assert session.resumed("align", AlignSettings(out=tmp_path / "run", resume=True)) == replace(settings, resume=True)
    assert app.run(["align", "--resume", "--out", str(tmp_path / "run"), "--student-steps", "2"]) == 2
    assert "student_steps was 3, is now 2" in capsys.readouterr().err
    kept = tmp_path / "run" / session.SETTINGS_FILE
    kept.write_text(kept.read_text().replace('"on_policy_weight"', '"follow"'))
    assert app.run(["align", "--resume", "--out", str(tmp_path / "run")]) == 2
    assert "unknown setting 'follow'" in capsys.readouterr().err
