"""The source as it is: what any edit should be compared with."""

from torch import Tensor

from eve_cli.editing.contract import Clip, Guidance
from eve_cli.models.editor import Editor


class Copy:
    """Changes nothing."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The source latents."""
        return clip.source
