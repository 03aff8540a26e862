"""An editor's functions under classifier-free guidance, as denoisers for a sampler."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from torch import Tensor

from eve_cli.diffusion.samplers import Denoise
from eve_cli.models.branches import Branches
from eve_cli.models.inference.run import Run

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor


class Guided:
    """Scales that are None are the bundle's. A `run` is for one clip: it keeps what its steps hand on."""

    def guided_image(
        self, text: Tensor, guidance_scale: float | None = None, *, with_lora: bool = False, run: Run | None = None
    ) -> Denoise:
        """Text to image with guidance on the text."""
        editor, branches = self._branches(guidance_scale, 1.0)
        return branches.guide(partial(editor.clean_image, with_lora=with_lora), run or Run(), text=branches.text(text))

    def guided_edit(
        self,
        text: Tensor,
        instruction: Tensor,
        source: Tensor,
        task: Tensor | None = None,
        *,
        guidance_scale: float | None = None,
        image_guidance_scale: float | None = None,
        with_lora: bool = False,
        run: Run | None = None,
    ) -> Denoise:
        """Frame editing with guidance on the texts and on the source.

        Branches: nothing; the source, no texts and no task; everything. Those of weight zero are not computed.
        """
        editor, branches = self._branches(guidance_scale, image_guidance_scale)
        return branches.guide(
            partial(editor.clean_edit, with_lora=with_lora),
            run or Run(),
            text=branches.text(text),
            instruction=branches.instruction(instruction),
            source=branches.shown(source),
            task=branches.task(task),
        )

    def guided_video(
        self,
        text: Tensor,
        first: Tensor | None,
        *,
        guidance_scale: float | None = None,
        first_cfg: float = 1.0,
        run: Run | None = None,
    ) -> Denoise:
        """Text to video; the first frame is given in all branches unless `first_cfg` asks for guidance on it."""
        editor, branches = self._branches(guidance_scale, first_cfg)
        run = run or Run()
        given = {"text": branches.text(text), "first": branches.shown(first)}
        return run.shared(branches.guide(editor.clean_video, run, **given))

    def guided_student(
        self,
        text: Tensor,
        instruction: Tensor,
        source: Tensor,
        first: Tensor | None,
        task: Tensor | None = None,
        *,
        guidance_scale: float | None = None,
        image_guidance_scale: float | None = None,
        run: Run | None = None,
    ) -> Denoise:
        """Clip editing, guided as `guided_edit`; the first frame is given in all branches."""
        editor, branches = self._branches(guidance_scale, image_guidance_scale)
        run = run or Run()
        denoise = branches.guide(
            editor.clean_student,
            run,
            text=branches.text(text),
            instruction=branches.instruction(instruction),
            source=branches.shown(run.own(source)),
            first=branches.every(first),
            task=branches.task(task),
        )
        return run.shared(denoise)

    def _branches(self, guidance_scale: float | None, source_cfg: float | None) -> tuple[Editor, Branches]:
        editor = cast("Editor", self)
        return editor, Branches(editor, guidance_scale, source_cfg)
