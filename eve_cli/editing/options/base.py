"""What all classes of method options are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eve_cli.editing.request import EditRequest


@dataclass(frozen=True)
class MethodOptions:
    """Options of one method, each a `setting(...)` with a default; light to import (no torch).

    A value that is wrong by itself is a UsageError of `__post_init__`.
    """

    def check(self, request: EditRequest) -> None:
        """UsageError where these options and the rest of a request make no sense together; called before any load."""
