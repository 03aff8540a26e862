"""Factorized Diffusion Distillation: a student learns from teachers that each judge one side of an edit (EVE, 3.2)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from eve_cli.alignment import losses
from eve_cli.alignment.adversary import Adversary
from eve_cli.alignment.context import Context
from eve_cli.alignment.features import Features, open_features
from eve_cli.alignment.scores import Scores
from eve_cli.alignment.student import Student
from eve_cli.alignment.teachers.base import Teacher
from eve_cli.models.parts import UNKNOWN_TASK
from eve_cli.training import distributed
from eve_cli.training.recipe import Batch, generator, step_seed
from eve_cli.training.recipes import common
from eve_cli.training.settings import AlignSettings

SHOWN = 4  # points in a preview
JUDGED = (0.02, 0.98)  # timesteps at which teachers judge, as shares of all
STREAM, END_STREAM = 0x20, 0x21  # of step_seed


class AlignRecipe:
    """A loop over teachers: each scores what the student made, and from a chosen share of the run each is joined by
    its discriminator. The gradients by the clip are added up and go back through the student's steps once.

    `rows` are the prepared data points (`alignment.points`). Every random number of a row is drawn from the row's own
    place in the run, so that several processes do what one with the same global batch does.
    """

    name = "align"
    progress = 0.0

    def __init__(
        self,
        student: Student,
        teachers: Mapping[Teacher, float],
        rows: Mapping[str, Tensor],
        settings: AlignSettings,
    ) -> None:
        """`teachers` come with their weights (alpha, beta, ...)."""
        self.student, self.teachers, self.rows, self.settings = student, teachers, rows, settings
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.modules: dict[str, nn.Module] = {"student": student.module}
        self.adversaries: dict[str, Adversary] = {}
        self.scores: dict[str, Scores] = {}
        s = settings
        if s.adversarial_from < 1:
            self.features: Features = open_features(s.features, student.editor)
            width = student.editor.parts.text_encoder.config.hidden_size
            for teacher in teachers:
                torch.manual_seed(step_seed(s.seed, 0, 0, STREAM))
                self.adversaries[teacher.name] = Adversary(
                    teacher.discriminator(self.features, width).to(student.editor.device),
                    s.discriminator_lr,
                    r1=s.r1,
                    kind="paper" if s.paper_generator_loss else "raw",
                    accumulate=s.accumulate,
                    average=distributed.average_gradients,
                )
        if s.distillation == "dmd":
            for teacher in teachers:
                self.scores[teacher.name] = Scores(
                    teacher, s.rank, s.score_lr, s.seed, s.accumulate, distributed.average_gradients
                )

    def to(self, device: torch.device) -> None:
        """What does not learn follows what does."""
        self.student.to(device)
        for adversary in self.adversaries.values():
            adversary.discriminator.to(device)

    def parameters(self) -> Iterable[nn.Parameter]:
        return self.student.module.parameters()

    # Data

    def batch(self, step: int, rank: int) -> Batch:
        count, world = self.settings.batch, self.world
        rows = [self._row((step * world + rank) * count + i) for i in range(count)]
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        batch["timesteps"] = batch["timesteps"].T.contiguous()
        batch["end"] = torch.randint(
            self.settings.k, (1,), generator=generator(self.settings.seed, 0, step, END_STREAM)
        )
        return batch

    def _row(self, place: int) -> dict[str, Tensor]:
        """A data point with all that is random about it, for a place in the run."""
        s, g = self.settings, generator(self.settings.seed, 0, place, STREAM)
        number = int(torch.randint(len(self.rows["source"]), (1,), generator=g))
        row = {k: v[number].float() if v.is_floating_point() else v[number] for k, v in self.rows.items()}
        chance, told = torch.rand(2, generator=g).tolist()
        row["asked"] = row["caption"] if chance < s.caption_share else row["instruction"]
        row["label"] = row["task"] if told < s.task_share else torch.tensor(UNKNOWN_TASK)
        row["noise"] = torch.randn(row["source"].shape, generator=g)
        schedule = self.student.schedule
        if s.timesteps == "bins":
            row["timesteps"] = schedule.kbin(s.k, g, not s.free_first)
        elif s.timesteps == "any":
            row["timesteps"] = torch.randperm(schedule.steps, generator=g)[: s.k].sort(descending=True).values
        else:
            row["timesteps"] = schedule.trailing(s.k)
        for teacher in self.teachers:
            views = len(teacher.view(row["source"].unsqueeze(0)))
            low, high = s.ranges.get(teacher.name, JUDGED)
            row[f"t_{teacher.name}"] = (
                (low + (high - low) * torch.rand(views, generator=g)) * (teacher.schedule.steps - 1)
            ).long()
            if s.own_score:
                row[f"t_{teacher.name}"] = row[f"t_{teacher.name}"][:1].expand(views)
            row[f"noise_{teacher.name}"] = torch.randn(row["source"].shape, generator=g)
        return row

    # The loss

    def step(self, batch: Batch) -> dict[str, Tensor]:
        s = self.settings
        context = self.context(batch)
        end = int(batch["end"]) if s.one_step else None
        steps: list[tuple[Tensor, Tensor, Tensor]] = []
        made = self.student.make(
            context, batch["noise"], batch["timesteps"], s.checkpointing, end, lambda *step: steps.append(step)
        )
        fighting = bool(self.adversaries) and self.progress >= s.adversarial_from
        # the gradients by the clip first, each in a graph of its own; then one way back through the student
        leaf = made.detach().requires_grad_(True)
        told: dict[str, Tensor] = {}
        total, value_of_all = torch.zeros_like(leaf), leaf.new_zeros(())
        for teacher, share in self.teachers.items():
            parts = {}
            if s.distill:
                parts["sds"] = s.distill * self._distill(teacher, leaf, context, batch, told)
            if s.detail:
                parts["detail"] = s.detail * self._detail(teacher, leaf, context, batch)
            if self.adversaries and (fighting or self.progress >= s.adversarial_from - s.warm_discriminator):
                judged = self._adversarial(teacher, leaf, context, batch, told, fighting)
                parts |= {"adversarial": s.adversarial * judged} if fighting else {}
            for name, value in parts.items():
                (gradient,) = torch.autograd.grad(share * value, leaf)
                total += gradient
                value_of_all += share * value.detach()
                told[f"_{name}_{teacher.name}"] = value.detach()
                told[f"_gradient_{name}_{teacher.name}"] = gradient.norm() * len(leaf) ** 0.5
        told |= self._signs(made.detach(), batch)
        fdd = _carry(made, total) + value_of_all
        if s.follow:
            fdd = fdd + s.follow * sum(self._follow(context, *step, told) for step in steps)
        return {"fdd": fdd, **told}

    def context(self, batch: Batch) -> Context:
        """What everybody is told of a batch."""
        return Context.of(self.student.editor, batch)

    def _follow(self, context: Context, noisy: Tensor, t: Tensor, clean: Tensor, told: dict[str, Tensor]) -> Tensor:
        """How far the student's clean latents at one of its own steps are from what the teachers make of the same
        noisy ones (on-policy distillation: Agarwal et al. 2024, for language models)."""
        s, loss = self.settings, clean.new_zeros(())
        for teacher, share in self.teachers.items():
            if not teacher.sees_source:  # in much noise it would make up another clip
                continue
            view = teacher.view(noisy.detach())
            level = self.student.schedule.matched(t, teacher.schedule).repeat_interleave(len(view) // len(t))
            with torch.no_grad():
                wanted = teacher.clean(view, level, context).float()
            error = losses.part(clean - wanted.view_as(clean), s.parts.get(teacher.name, "all")).square().mean()
            told[f"_follow_{teacher.name}"] = told.get(f"_follow_{teacher.name}", 0.0) + error.detach()
            loss = loss + share * error
        return loss

    def _distill(
        self, teacher: Teacher, clips: Tensor, context: Context, batch: Batch, told: dict[str, Tensor]
    ) -> Tensor:
        """The distillation loss of one teacher, whose gradient reaches the clips and nothing else."""
        s, schedule = self.settings, teacher.schedule
        view, t = teacher.view(clips), batch[f"t_{teacher.name}"].flatten()
        noisy = schedule.add_noise(view.detach(), teacher.view(batch[f"noise_{teacher.name}"]), t)
        with torch.no_grad():
            wanted = teacher.clean(noisy, t, context).float()
        if teacher.name in self.scores:
            score = self.scores[teacher.name]
            for _ in range(s.score_steps):
                told[f"_score_{teacher.name}"] = score.learn(view.detach(), context)
            return losses.matching(view, wanted, score.clean(noisy, t, context).float())
        if s.own_score:
            level = schedule.matched(t.view(len(clips), -1)[:, 0], self.student.schedule)
            with torch.no_grad():
                own = self.student.clean(noisy.view_as(clips), level, context).float()
            wanted = wanted + s.own_score * (view.detach() - own.view_as(view))
        error = losses.part((view.detach() - wanted).view_as(clips), s.parts.get(teacher.name, "all"))
        wanted = view.detach() - error.reshape(view.shape)
        return losses.distillation(view, wanted, losses.weight(schedule, t, view, s.weighting), s.normalise)

    def _detail(self, teacher: Teacher, clips: Tensor, context: Context, batch: Batch) -> Tensor:
        """Whether what the teacher looks at has the contrast of its own samples."""
        shown = teacher.shown(clips, context)
        real = batch[f"real_{teacher.name}"].reshape(shown.shape)
        return losses.energy(*(x.reshape(len(clips), -1, *clips.shape[2:]) for x in (shown, real)))

    def _adversarial(
        self, teacher: Teacher, clips: Tensor, context: Context, batch: Batch, told: dict[str, Tensor], fighting: bool
    ) -> Tensor:
        """Teaches the discriminator, then asks it."""
        adversary = self.adversaries[teacher.name]
        real = batch[f"real_{teacher.name}"]
        with torch.no_grad():
            shown, more = teacher.evidence(real.view_as(teacher.shown(clips, context)), context, self.features)
        fake, _ = teacher.evidence(teacher.shown(clips, context), context, self.features)
        learned = [adversary.learn(shown, fake, more) for _ in range(self.settings.discriminator_steps)][-1]
        told[f"_discriminator_{teacher.name}"], told[f"_right_{teacher.name}"] = learned["loss"], learned["right"]
        return adversary.loss(fake, more) if fighting else clips.new_zeros(())

    @torch.no_grad()
    def _signs(self, made: Tensor, batch: Batch) -> dict[str, Tensor]:
        """What `warnings` looks at: how far the clip is from its source, how far it has drifted, how wide it is."""
        source, first = batch["source"], batch["first"]
        asked = (first - source[:, 0]).square().mean()
        drift = (made.mean((1, 3, 4)) - first.mean((2, 3))).abs().mean()
        return {
            "_moved": (made[:, 0] - source[:, 0]).square().mean() / asked.clamp_min(1e-6),
            "_drift": drift,
            "_spread": made.std() / source.std(),
        }

    def warnings(self, told: Mapping[str, float]) -> list[str]:
        """What looks wrong in the mean losses of some steps, in words."""
        found = []
        if told.get("_moved", 1.0) < 0.15:
            found.append("the student copies its input: lower the video teacher's weight, or check the instructions.")
        if told.get("_spread", 1.0) > 1.5:
            found.append("the student's colours saturate: lower the guidance of the teachers or the learning rate.")
        if told.get("_drift", 0.0) > 0.6:
            found.append("colours drift from the edited first frame: lower the video teacher's weight or the rate.")
        won = [n.removeprefix("_right_") for n, v in told.items() if n.startswith("_right_") and v > 0.98]
        if won and self.progress >= self.settings.adversarial_from:
            found.append(f"the discriminator of {' and '.join(won)} is always right: lower --discriminator-lr.")
        return found

    # State beside the student

    def state(self) -> dict[str, Tensor]:
        flat = {}
        for kind, table in (("adversary", self.adversaries), ("score", self.scores)):
            for name, holder in table.items():
                flat |= {f"{kind}/{name}/{key}": value for key, value in holder.state().items()}
        return flat or {"none": torch.zeros(1)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        for kind, table in (("adversary", self.adversaries), ("score", self.scores)):
            for name, holder in table.items():
                prefix = f"{kind}/{name}/"
                holder.load_state({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})

    # Pictures

    def preview(self, step: int) -> Tensor | None:
        """A strip a data point: source, teachers' samples if there are any, unaligned, aligned; no truth is known."""
        count = min(SHOWN, len(self.rows["source"]))
        device = self.student.editor.device
        rows = {k: v[:count].to(device) for k, v in self.rows.items()}
        rows = {k: v.float() if v.is_floating_point() else v for k, v in rows.items()}
        rows |= {"asked": rows["instruction"], "label": torch.full_like(rows["task"], UNKNOWN_TASK)}
        context = Context.of(self.student.editor, rows)
        g = torch.Generator().manual_seed(step_seed(self.settings.seed, 0, 0, STREAM))
        noise = torch.randn(rows["source"].shape, generator=g).to(device)
        timesteps = self.student.schedule.trailing(self.settings.k).unsqueeze(1).expand(-1, count)
        columns = [rows["source"], rows["first"].unsqueeze(1)]
        columns += [rows[f"real_{t.name}"] for t in self.teachers if f"real_{t.name}" in rows]
        with self.student.without():
            columns.append(self.student.make(context, noise, timesteps, False))
        columns.append(self.student.make(context, noise, timesteps, False))
        shown = [self.student.editor.decode(c[:, [0, -1]].flatten(0, 1).float()) for c in columns]
        return common.sheet([torch.stack([picture[i] for picture in shown]) for i in range(2 * count)])


def _carry(made: Tensor, gradient: Tensor) -> Tensor:
    """A scalar, zero in value, whose gradient by `made` is `gradient`."""
    return (made * gradient).sum() - (made.detach() * gradient).sum()
