"""Factorized Diffusion Distillation: a student learns from teachers of one aspect of an edit each (EVE, 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from eve_cli.alignment import losses
from eve_cli.alignment.context import Context
from eve_cli.alignment.discriminator_trainer import DiscriminatorTrainer
from eve_cli.alignment.fake_score import FakeScore
from eve_cli.alignment.features import Features, open_features
from eve_cli.alignment.settings import AlignSettings
from eve_cli.alignment.student import Student
from eve_cli.alignment.teachers.base import Teacher
from eve_cli.runtime import distributed
from eve_cli.tasks import UNKNOWN_TASK
from eve_cli.training.recipe import Batch, generator, step_seed
from eve_cli.training.recipes import common

PREVIEW_POINTS = 4
STREAM, END_STREAM = 0x20, 0x21  # of step_seed


class AlignRecipe:
    """The losses of every teacher on the student's samples, and, from a share of the run on, of its discriminator.

    The gradients by the sampled clips are added up and then backpropagated through the student's steps once.

    All random numbers of a row depend on the row's place in the run alone, so several processes train as one process
    with the same global batch does.
    """

    name = "align"
    progress = 0.0

    def __init__(
        self,
        student: Student,
        teachers: Sequence[Teacher],
        points: Sequence[Mapping[str, Tensor]],
        settings: AlignSettings,
    ) -> None:
        """`points` are those of `points.PreparedPoints`; they are read as the batches need them."""
        self.student, self.points, self.settings = student, points, settings
        self.teachers = {teacher: settings.resolved_teacher(teacher.name) for teacher in teachers}
        self.modules: dict[str, nn.Module] = {"student": student.module}
        self.discriminators: dict[str, DiscriminatorTrainer] = {}
        self.fake_scores: dict[str, FakeScore] = {}
        s = settings
        if s.adversarial_start < 1:
            self.features: Features = open_features(s.features, student.editor)
            width = student.editor.parts.text_encoder.config.hidden_size
            for teacher in teachers:
                torch.manual_seed(step_seed(s.seed, 0, 0, STREAM))
                self.discriminators[teacher.name] = DiscriminatorTrainer(
                    teacher.discriminator(self.features, width).to(student.editor.device),
                    s.discriminator_lr,
                    r1_weight=s.r1_weight,
                    generator_loss=s.generator_loss,
                    accumulate=s.accumulate,
                    average=distributed.average_gradients,
                )
        if s.distillation == "dmd":
            for teacher in teachers:
                self.fake_scores[teacher.name] = FakeScore(
                    teacher, s.rank, s.fake_score_lr, s.seed, s.accumulate, distributed.average_gradients
                )

    def to(self, device: torch.device) -> None:
        """Moves the student, the teachers, the discriminators with their features, and the fake scores."""
        self.student.to(device)
        for teacher in self.teachers:
            teacher.editor.to(device)
        for score in self.fake_scores.values():
            score.to(device)
        for trainer in self.discriminators.values():
            trainer.discriminator.to(device)
        if self.discriminators:
            self.features.to(device)

    def parameters(self) -> Iterable[nn.Parameter]:
        return self.student.module.parameters()

    # Data

    def batch(self, step: int, rank: int) -> Batch:
        rows = [self._row(place) for place in self._places(step, rank)]
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        batch["timesteps"] = batch["timesteps"].T.contiguous()
        batch["end"] = torch.randint(
            self.settings.student_steps, (1,), generator=generator(self.settings.seed, 0, step, END_STREAM)
        )
        return batch

    def numbers(self, batches: int) -> list[int]:
        """The numbers of the points that the first batches of all processes read, in the order of their first use."""
        places = range(batches * distributed.world_size() * self.settings.batch)
        return list(dict.fromkeys(self._number(generator(self.settings.seed, 0, p, STREAM)) for p in places))

    def _places(self, step: int, rank: int) -> range:
        """The places in the run of a batch's rows."""
        first = (step * distributed.world_size() + rank) * self.settings.batch
        return range(first, first + self.settings.batch)

    def _number(self, g: torch.Generator) -> int:
        return int(torch.randint(len(self.points), (1,), generator=g))

    def _row(self, place: int) -> dict[str, Tensor]:
        """A point and all random numbers that a step needs for it."""
        s, g = self.settings, generator(self.settings.seed, 0, place, STREAM)
        point = self.points[self._number(g)]
        row = {k: v.float() if v.is_floating_point() else v for k, v in point.items()}
        caption, task = torch.rand(2, generator=g).tolist()
        row["student_text"] = row["caption"] if caption < s.caption_share else row["instruction"]
        row["student_task"] = row["task"] if task < s.task_share else torch.tensor(UNKNOWN_TASK)
        row["noise"] = torch.randn(row["source"].shape, generator=g)
        schedule = self.student.schedule
        if s.timestep_sampling == "k-bin":
            row["timesteps"] = schedule.kbin(s.student_steps, g, not s.random_first_timestep)
        elif s.timestep_sampling == "uniform":
            permuted = torch.randperm(schedule.steps, generator=g)
            row["timesteps"] = permuted[: s.student_steps].sort(descending=True).values
        else:
            row["timesteps"] = schedule.trailing(s.student_steps)
        for teacher, resolved in self.teachers.items():
            views = len(teacher.view(row["source"].unsqueeze(0)))
            low, high = resolved.t_range
            share = low + (high - low) * torch.rand(views, generator=g)
            t = (share * (teacher.schedule.steps - 1)).long()
            row[f"t_{teacher.name}"] = t[:1].expand(views) if s.student_score_weight else t
            row[f"noise_{teacher.name}"] = torch.randn(row["source"].shape, generator=g)
        return row

    # The loss

    def step(self, batch: Batch) -> dict[str, Tensor]:
        s = self.settings
        context = self.context(batch)
        end = int(batch["end"]) if s.one_step_gradient else None
        steps: list[tuple[Tensor, Tensor, Tensor]] = []
        clips = self.student.sample(
            context, batch["noise"], batch["timesteps"], s.gradient_checkpointing, end, lambda *step: steps.append(step)
        )
        adversarial = self.progress >= s.adversarial_start
        # first the gradients with respect to the clips, each in its own graph; then one backward pass of the student
        leaf = clips.detach().requires_grad_(True)
        metrics: dict[str, Tensor] = {}
        gradient, value = torch.zeros_like(leaf), leaf.new_zeros(())
        for teacher, resolved in self.teachers.items():
            terms = {}
            if s.distillation_weight:
                terms["distillation"] = s.distillation_weight * self._distill(teacher, leaf, context, batch, metrics)
            if s.contrast_weight:
                terms["contrast"] = s.contrast_weight * self._contrast(teacher, leaf, context, batch)
            if self.discriminators and self.progress >= s.adversarial_start - s.discriminator_warmup:
                loss = self._adversarial(teacher, leaf, context, batch, metrics, adversarial)
                terms |= {"adversarial": s.adversarial_weight * loss} if adversarial else {}
            parts = {name: torch.autograd.grad(resolved.weight * term, leaf)[0] for name, term in terms.items()}
            if s.balance == "gradients" and {"distillation", "adversarial"} <= parts.keys():
                ratio = parts["distillation"].norm() / parts["adversarial"].norm().clamp_min(losses.EPSILON**2)
                metrics[f"_ratio_{teacher.name}"] = ratio
                parts["adversarial"] = parts["adversarial"] * (ratio * s.adversarial_weight / s.distillation_weight)
            for name, term in terms.items():
                part = parts[name]
                gradient += part
                value += resolved.weight * term.detach()
                metrics[f"_{name}_{teacher.name}"] = term.detach()
                metrics[f"_gradient_{name}_{teacher.name}"] = part.norm() * len(leaf) ** 0.5
        metrics |= self._diagnostics(clips.detach(), batch)
        fdd = _with_gradient(clips, gradient) + value
        if s.on_policy_weight:
            fdd = fdd + s.on_policy_weight * sum(self._on_policy(context, *step, metrics) for step in steps)
        return {"fdd": fdd, **metrics}

    def context(self, batch: Batch) -> Context:
        """The conditions of a batch."""
        return Context.of(self.student.editor, batch)

    def _on_policy(
        self, context: Context, noisy: Tensor, t: Tensor, clean: Tensor, metrics: dict[str, Tensor]
    ) -> Tensor:
        """The error of the student's prediction at one of its own steps against the teachers' for the same latents.

        (On-policy distillation: Agarwal et al. 2024, for language models.)
        """
        loss = clean.new_zeros(())
        for teacher, resolved in self.teachers.items():
            if not teacher.reads_source:  # at high noise it would predict another clip
                continue
            view = teacher.view(noisy.detach())
            level = self.student.schedule.matched(t, teacher.schedule).repeat_interleave(len(view) // len(t))
            with torch.no_grad():
                target = teacher.clean(view, level, context).float()
            error = losses.component(clean - target.view_as(clean), resolved.error_component).square().mean()
            metrics[f"_on_policy_{teacher.name}"] = metrics.get(f"_on_policy_{teacher.name}", 0.0) + error.detach()
            loss = loss + resolved.weight * error
        return loss

    def _distill(
        self, teacher: Teacher, clips: Tensor, context: Context, batch: Batch, metrics: dict[str, Tensor]
    ) -> Tensor:
        """The distillation loss of one teacher, whose gradient reaches the clips alone."""
        s, schedule = self.settings, teacher.schedule
        view, t = teacher.view(clips), batch[f"t_{teacher.name}"].flatten()
        noisy = schedule.add_noise(view.detach(), teacher.view(batch[f"noise_{teacher.name}"]), t)
        with torch.no_grad():
            target = teacher.clean(noisy, t, context).float()
        if teacher.name in self.fake_scores:
            fake_score = self.fake_scores[teacher.name]
            for _ in range(s.fake_score_steps):
                metrics[f"_fake_score_{teacher.name}"] = fake_score.train_step(view.detach(), context)
            return losses.matching(view, target, fake_score.clean(noisy, t, context).float())
        if s.student_score_weight:
            level = schedule.matched(t.view(len(clips), -1)[:, 0], self.student.schedule)
            with torch.no_grad():
                prediction = self.student.clean(noisy.view_as(clips), level, context).float()
            target = target + s.student_score_weight * (view.detach() - prediction.view_as(view))
        error = losses.component((view.detach() - target).view_as(clips), self.teachers[teacher].error_component)
        target = view.detach() - error.reshape(view.shape)
        weight = losses.weight(schedule, t, view, s.timestep_weighting)
        return losses.distillation(view, target, weight, s.normalise_score)

    def _contrast(self, teacher: Teacher, clips: Tensor, context: Context, batch: Batch) -> Tensor:
        """The difference in contrast between the clips and the teacher's samples, on the frames that it scores."""
        view = teacher.discriminator_view(clips, context)
        real = batch[f"real_{teacher.name}"].reshape(view.shape)
        return losses.contrast(*(x.reshape(len(clips), -1, *clips.shape[2:]) for x in (view, real)))

    def _adversarial(
        self,
        teacher: Teacher,
        clips: Tensor,
        context: Context,
        batch: Batch,
        metrics: dict[str, Tensor],
        adversarial: bool,
    ) -> Tensor:
        """Trains the discriminator; returns the student's adversarial loss, 0 before adversarial losses begin."""
        trainer, view = self.discriminators[teacher.name], teacher.discriminator_view(clips, context)
        with torch.no_grad():
            samples = batch[f"real_{teacher.name}"].view_as(view)
            real, conditions = teacher.discriminator_inputs(samples, context, self.features)
        fake, _ = teacher.discriminator_inputs(view, context, self.features)
        for _ in range(self.settings.discriminator_steps):
            step = trainer.train_step(real, fake, conditions)
            metrics[f"_discriminator_{teacher.name}"] = step["loss"]
            metrics[f"_accuracy_{teacher.name}"] = step["accuracy"]
        return trainer.generator_loss(fake, conditions) if adversarial else clips.new_zeros(())

    @torch.no_grad()
    def _diagnostics(self, clips: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The values that `warnings` checks."""
        source, first = batch["source"], batch["first"]
        edit = (first - source[:, 0]).square().mean()
        return {
            "_change": (clips[:, 0] - source[:, 0]).square().mean() / edit.clamp_min(1e-6),
            "_colour_drift": (clips.mean((1, 3, 4)) - first.mean((2, 3))).abs().mean(),
            "_contrast": clips.std() / source.std(),
        }

    def warnings(self, means: Mapping[str, float]) -> list[str]:
        """Messages about suspicious mean values of some steps."""
        messages = []
        if means.get("_change", 1.0) < 0.15:
            messages.append("the student copies its input: lower the video teacher's weight, check the instructions.")
        if means.get("_contrast", 1.0) > 1.5:
            messages.append("the student's colours saturate: lower the teachers' guidance or the learning rate.")
        if means.get("_colour_drift", 0.0) > 0.6:
            messages.append("colours drift from the edited first frame: lower the video teacher's weight or the rate.")
        prefix = "_accuracy_"
        always = [n.removeprefix(prefix) for n, value in means.items() if n.startswith(prefix) and value > 0.98]
        if always and self.progress >= self.settings.adversarial_start:
            messages.append(f"the discriminator of {' and '.join(always)} is always right: lower --discriminator-lr.")
        return messages

    # State beside the student

    def state(self) -> dict[str, Tensor]:
        flat = {f"{name}/{key}": v for name, holder in self._stateful().items() for key, v in holder.state().items()}
        return flat or {"none": torch.zeros(1)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        for name, holder in self._stateful().items():
            prefix = f"{name}/"
            holder.load_state({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})

    def _stateful(self) -> dict[str, DiscriminatorTrainer | FakeScore]:
        trainers = {f"discriminator/{name}": trainer for name, trainer in self.discriminators.items()}
        return {**trainers, **{f"fake_score/{name}": score for name, score in self.fake_scores.items()}}

    # Pictures

    def preview(self, step: int) -> Tensor | None:
        """First and last frames of some points: source, edited first frame, teachers' samples, unaligned, aligned."""
        device, student = self.student.editor.device, self.student
        # those that the run uses anyway, so that no process waits until they are prepared
        points = [self.points[number] for number in self.numbers(PREVIEW_POINTS)[:PREVIEW_POINTS]]
        batch = {k: torch.stack([point[k] for point in points]).to(device) for k in points[0]}
        batch = {k: v.float() if v.is_floating_point() else v for k, v in batch.items()}
        batch |= {"student_text": batch["instruction"], "student_task": torch.full_like(batch["task"], UNKNOWN_TASK)}
        context = self.context(batch)
        g = torch.Generator().manual_seed(step_seed(self.settings.seed, 0, 0, STREAM))
        noise = torch.randn(batch["source"].shape, generator=g).to(device)
        timesteps = student.schedule.trailing(self.settings.student_steps).unsqueeze(1).expand(-1, len(points))
        columns = [batch["source"], batch["first"].unsqueeze(1)]
        columns += [batch[f"real_{t.name}"] for t in self.teachers if f"real_{t.name}" in batch]
        with student.unaligned():
            columns.append(student.sample(context, noise, timesteps))
        columns.append(student.sample(context, noise, timesteps))
        pictures = [student.editor.decode(c[:, [0, -1]].flatten(0, 1).float()) for c in columns]
        return common.sheet([torch.stack([picture[i] for picture in pictures]) for i in range(2 * len(points))])


def _with_gradient(clips: Tensor, gradient: Tensor) -> Tensor:
    """A scalar with value zero whose gradient by `clips` is `gradient`."""
    return (clips * gradient).sum() - (clips.detach() * gradient).sum()
