"""The flags of commands that edit: the settings of an edit, and the options of every method, all at one level."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from eve_cli.editing.request import EditRequest
from eve_cli.methods.registry import option_fields
from eve_cli.settings import like

EditFlags = like(
    "EditFlags", EditRequest, "Edit a video or a picture by an instruction.", leave=("options",), also=option_fields()
)


def request_of(flags: Any) -> EditRequest:
    """The request that flags describe; UsageError for an option of another method."""
    return EditRequest.of({item.name: getattr(flags, item.name) for item in fields(flags)}, "command line")


def flags_of(request: EditRequest) -> Any:
    """The flags that describe a request; options of its method only where they differ from their defaults."""
    values = {item.name: getattr(request, item.name) for item in fields(request) if item.name != "options"}
    default = type(request.options)()
    options = {item.name: getattr(request.options, item.name) for item in fields(default)}
    return EditFlags(**values | {name: value for name, value in options.items() if value != getattr(default, name)})
