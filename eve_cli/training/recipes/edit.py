"""The edit adapter: a ControlNet on the input frame and the instruction (EVE, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eve_cli.data.batches import Source, World
from eve_cli.data.world.feed import Pairs
from eve_cli.diffusion.samplers import ddim
from eve_cli.models.parts import Parts, task_labels
from eve_cli.runtime import distributed
from eve_cli.tasks import UNKNOWN_TASK
from eve_cli.training.pool import Pool, Rows
from eve_cli.training.recipe import Batch, generator, step_seed
from eve_cli.training.recipes import common

CHANGED_WEIGHT = 3.0
PLAIN_FROM = 0.7
CHUNK = 1536
BLOCKS = 4  # of a chunk
NOISE_BIAS = 2.0
PREVIEW_SEED = 20_000_001
# Shares of the backbone's texts beside the instruction, which is all that users give.
CAPTION_SHARE, EMPTY_SHARE = 0.2, 0.15
UNEDITED_SHARE = 0.06  # of samples without an instruction, whose target is the source
TASK_SHARE = 0.4  # of samples with a task label
WIDE_EVERY = 3  # one of so many batches is of wide photographs, if there are some
# More of the slow tasks: after 160k pairs at equal shares remove was at .76, and texture and local near 0.
TASK_SHARES = {"add": 1.5, "remove": 0.8, "background": 1.2, "texture": 2.0, "local": 2.0, "style": 1.0, "global": 1.2}


class EditRecipe(common.LatentRecipe):
    """Velocity prediction of the true edited frame by the frozen backbone under the adapter's control."""

    name = "edit"

    def __init__(self, parts: Parts, batch: int, seed: int = 0, source: Source | None = None) -> None:
        super().__init__(parts, batch, seed, source, CHUNK)
        assert parts.edit is not None
        self.modules = {"controlnet": parts.edit.requires_grad_(True)}
        if parts.instruction_encoder is not None:
            self.modules["instruction_encoder"] = parts.instruction_encoder.requires_grad_(True)
        self.instruction_encoder = parts.instruction_encoder or parts.text_encoder
        self.pool = Pool(self._draw)
        wide = isinstance(self.source, World) and self.source.wide is not None
        self.wide = Pool(self._draw_wide) if wide else None

    @property
    def frames(self) -> int:
        return 2  # source and edited

    @property
    def networks(self) -> tuple[nn.Module | None, ...]:
        return self.editor.backbone, self.parts.edit

    def _draw(self, number: int) -> Rows:
        side = self.parts.settings.pixels
        blocks = [
            self.source.pairs(step_seed(self.seed, i, number, 3), self.chunk // BLOCKS, side, tasks=TASK_SHARES)
            for i in self._blocks()
        ]
        return self._rows(blocks)

    @staticmethod
    def _blocks() -> range:
        """Numbers of the blocks of a chunk, each with a frame number of its own; other processes have others."""
        return range(BLOCKS * distributed.rank(), BLOCKS * (distributed.rank() + 1))

    def _draw_wide(self, number: int) -> Rows:
        assert isinstance(self.source, World)
        seeds = (step_seed(self.seed, i, number, 5) for i in self._blocks())
        return self._rows([self.source.wide_pairs(seed, max(1, self.chunk // 8)) for seed in seeds])

    def _rows(self, blocks: list[Pairs]) -> Rows:
        source = common.encode(self.editor, torch.cat([b.source for b in blocks]).flatten(0, 1))
        edited = common.encode(self.editor, torch.cat([b.edited for b in blocks]).flatten(0, 1))
        changed = torch.cat([b.changed for b in blocks]).flatten(0, 1)
        return {
            "source": source,
            "edited": edited,
            "weight": common.shrink(changed, source.shape[-2:]),
            "instruction": self.parts.tokens([t for b in blocks for t in b.instructions]),
            "caption": self.parts.tokens([t for b in blocks for t in b.captions]),
            "task": task_labels([t for b in blocks for t in b.tasks]),
        }

    def batch(self, step: int, rank: int) -> Batch:
        g = generator(self.seed, rank, step, 4)
        wide = self.wide is not None and step % WIDE_EVERY == WIDE_EVERY - 1
        rows = (self.wide if wide and self.wide else self.pool).rows(step, self.count, g)
        chance = torch.rand(self.count, generator=g)
        unedited = torch.rand(self.count, generator=g) < UNEDITED_SHARE
        labelled = torch.rand(self.count, generator=g) < TASK_SHARE
        text = torch.where((chance < CAPTION_SHARE).unsqueeze(1), rows["caption"], rows["instruction"])
        text = common.blank(text, self.empty, unedited | (chance > 1 - EMPTY_SHARE))
        return {
            "source": rows["source"],
            "target": torch.where(unedited.view(-1, 1, 1, 1), rows["source"], rows["edited"]),
            "weight": torch.where(unedited.view(-1, 1, 1), torch.zeros(()), rows["weight"]),
            "instruction": common.blank(rows["instruction"], self.empty, unedited),
            "text": text,
            "task": torch.where(labelled & ~unedited, rows["task"], UNKNOWN_TASK),
            "noise": torch.randn(rows["source"].shape, generator=g),
            "t": common.noisy_times(self.count, self.editor.image_schedule.steps, g, NOISE_BIAS),
        }

    def step(self, batch: Batch) -> dict[str, Tensor]:
        schedule, t, target = self.editor.image_schedule, batch["t"], batch["target"]
        noisy = schedule.add_noise(target, batch["noise"], t)
        text = self.parts.text_encoder(batch["text"]).last_hidden_state
        instruction = self.instruction_encoder(batch["instruction"]).last_hidden_state
        control_image = self.editor.control_image(batch["source"])
        clean = self.editor.clean_edit(noisy, t, text, instruction, control_image, batch["task"]).float()
        error = schedule.of_output(clean - target, t)
        extra = CHANGED_WEIGHT if self.progress < PLAIN_FROM else 0.0
        noisiest = (t > 0.9 * schedule.steps).float()
        return {
            "velocity": common.weighted(error, batch["weight"], extra),
            "_clean_at_noisiest": ((clean - target).square().mean((1, 2, 3)) * noisiest).sum().detach()
            / noisiest.sum().clamp_min(1),
        }

    def preview(self, step: int) -> Tensor | None:
        samples = self.source.pairs(PREVIEW_SEED, 12, self.parts.settings.pixels)
        device = self.editor.device
        source = common.encode(self.editor, samples.source[:, 0]).to(device)
        condition = self.editor.condition(samples.instructions)
        conditions = (condition.text, condition.instruction, self.editor.control_image(source))
        denoise = self.editor.guided_edit(*conditions, guidance_scale=1.0, image_guidance_scale=1.0)
        noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(0)).to(device)
        schedule = self.editor.image_schedule
        out = self.editor.decode(ddim(denoise, schedule, noise, schedule.trailing(10)))
        return common.sheet([samples.source[:, 0], out.cpu(), samples.edited[:, 0]])
