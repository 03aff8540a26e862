"""The edit adapter and the video adapter: fresh ones for any Stable Diffusion shaped backbone."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ControlNetModel, MotionAdapter, UNet2DConditionModel
from torch import Tensor, nn

from eve_cli.models.config import ControlImage, FirstFrameForm
from eve_cli.tasks import UNKNOWN_TASK

PIXEL_CHANNELS = (16, 32, 96, 256)


class VideoAdapter(nn.Module):
    """Temporal layers for a frozen backbone, and an input layer for a first frame.

    `motion` is diffusers' MotionAdapter. `first` is a bias-free convolution beside the backbone's `conv_in` that reads
    a clean frame's latents and a mask (Emu Video, section 3.1); None in the `sparse` form, where `Parts.sparse` does.
    """

    def __init__(self, motion: MotionAdapter, latent_channels: int, form: FirstFrameForm = "repeat") -> None:
        super().__init__()
        self.motion = motion
        self.form: FirstFrameForm = form
        self.first: nn.Conv2d | None = None
        if form != "sparse":
            width = motion.config["block_out_channels"][0]
            self.first = nn.Conv2d(latent_channels + 1, width, kernel_size=3, padding=1, bias=False)
            nn.init.zeros_(self.first.weight)

    def known(self, first: Tensor, frames: int, keys: Sequence[int] = (0,)) -> Tensor:
        """The condition of each frame, (b, frames, c + 1, h, w): latents, and a mask that is 1 if they are its own.

        `first` holds clean latents of frame 0 (b, c, h, w), or of the frames `keys` (b, k, c, h, w). In the `repeat`
        form a frame has those of the last key up to it, in the others only the keys have theirs.
        """
        key_latents = first if first.ndim == 5 else first[:, None]
        place = [sum(key <= frame for key in keys) - 1 for frame in range(frames)]
        mask = key_latents.new_zeros(len(key_latents), frames, 1, *key_latents.shape[-2:])
        mask[:, list(keys)] = 1
        latents = key_latents[:, place]
        return torch.cat([latents if self.form == "repeat" else latents * mask, mask], dim=2)


class ConditionedConv(nn.Conv2d):
    """A backbone's `conv_in` that adds the output of `extra` for the channels beyond its own.

    Holds the same Parameters as the given convolution, under the same names.
    """

    def __init__(self, conv: nn.Conv2d, extra: nn.Module) -> None:
        with torch.device("meta"):
            super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding)  # pyright: ignore
        self.weight, self.bias = conv.weight, conv.bias
        self.extra = extra

    def forward(self, input: Tensor) -> Tensor:
        noisy, extra = input[:, : self.in_channels], input[:, self.in_channels :]
        out = super().forward(noisy)
        return out + self.extra(extra) if extra.shape[1] else out


def fresh_edit(
    backbone: UNet2DConditionModel, control_image: ControlImage = "latents", tasks: int = UNKNOWN_TASK + 1
) -> ControlNetModel:
    """A ControlNet that changes nothing yet: the backbone's down and middle blocks, copied, behind zero convolutions.

    With `control_image="latents"` it reads the source's latents through two stride-1 convolutions, with `"pixels"`
    frames in [0, 1]. `tasks` zero-initialised task labels are added to its time embedding; 0 leaves them out.
    """
    known = inspect.signature(ControlNetModel.__init__).parameters
    config: dict[str, Any] = {key: value for key, value in backbone.config.items() if key in known}
    config["conditioning_channels"] = backbone.config["in_channels"] if control_image == "latents" else 3
    config["conditioning_embedding_out_channels"] = (
        (backbone.config["block_out_channels"][0],) if control_image == "latents" else PIXEL_CHANNELS
    )
    config["num_class_embeds"] = tasks or None
    adapter = ControlNetModel(**config)
    for name in ("conv_in", "time_embedding", "down_blocks", "mid_block"):
        getattr(adapter, name).load_state_dict(getattr(backbone, name).state_dict())
    if isinstance(adapter.class_embedding, nn.Embedding):
        nn.init.zeros_(adapter.class_embedding.weight)
    return adapter


def fresh_video(
    backbone: UNet2DConditionModel, form: FirstFrameForm = "repeat", heads: int = 4, max_frames: int = 32
) -> VideoAdapter:
    """A video adapter that changes nothing yet: one temporal transformer behind each spatial layer, zero at its end.

    The layers of each block and the groups of its norms are the backbone's, as diffusers' UNetMotionModel requires.
    """
    config = backbone.config
    motion = MotionAdapter(
        block_out_channels=tuple(config["block_out_channels"]),
        motion_layers_per_block=config["layers_per_block"],
        motion_num_attention_heads=heads,
        motion_norm_num_groups=config["norm_num_groups"],
        motion_max_seq_length=max_frames,
        use_motion_mid_block=True,
    )
    for name, module in motion.named_modules():
        if name.endswith("proj_out") and isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return VideoAdapter(motion, config["in_channels"], form)


@torch.no_grad()
def without_labels(adapter: ControlNetModel, task: int = UNKNOWN_TASK) -> ControlNetModel:
    """The same adapter for one task, as a ControlNet without labels, which diffusers' pipelines can run."""
    plain = ControlNetModel.from_config({**adapter.config, "num_class_embeds": None})
    assert isinstance(plain, ControlNetModel) and isinstance(adapter.class_embedding, nn.Embedding)
    label = adapter.class_embedding.weight[task]
    weights = {name: value for name, value in adapter.state_dict().items() if not name.startswith("class_embedding")}
    weights["time_embedding.linear_2.bias"] = weights["time_embedding.linear_2.bias"] + label
    plain.load_state_dict(weights)
    nn.Module.to(plain, label.device, label.dtype)
    return plain.requires_grad_(False).eval()
