"""The editing methods: one row each. A new method is one file in this folder and one row here. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import Field, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from eve_cli import registry
from eve_cli.errors import ModelError, UsageError
from eve_cli.methods import options as o
from eve_cli.settings import field_types, from_mapping, setting

if TYPE_CHECKING:
    from eve_cli.methods.base import EditMethod

Part = Literal["edit", "video"]


@dataclass(frozen=True)
class MethodSpec:
    """Everything that the rest of the code needs to know of a method."""

    cls: str
    """"package.module:Class" of a `base.EditMethod`, imported when it is used."""
    options: type[o.MethodOptions] = o.MethodOptions
    reads: Literal["nothing", "instruction", "captions"] = "instruction"
    needs: frozenset[Part] = frozenset()
    """The adapters without which it edits no video; a picture needs no video adapter."""
    long: bool = False
    """Whether it can denoise all windows of a long clip jointly, and cache deep layers between steps."""
    framewise: bool = False
    """Whether no frame of its result depends on another one."""

    def load(self) -> type[EditMethod]:
        """The class."""
        return registry.load(self.cls)


EDIT, VIDEO = frozenset[Part](["edit"]), frozenset[Part](["video"])
METHODS: dict[str, MethodSpec] = {
    "eve": MethodSpec("eve_cli.methods.eve:Eve", needs=EDIT | VIDEO, long=True),
    "per_frame": MethodSpec(
        "eve_cli.methods.per_frame:PerFrame", options=o.PerFrameOptions, needs=EDIT, framewise=True
    ),
    "sdedit": MethodSpec(
        "eve_cli.methods.sdedit:SDEdit", options=o.SDEditOptions, reads="captions", needs=VIDEO, long=True
    ),
    "dds": MethodSpec("eve_cli.methods.dds:DDS", options=o.DDSOptions, reads="captions", needs=VIDEO),
    "assd": MethodSpec("eve_cli.methods.assd:ASSD", options=o.ASSDOptions, reads="captions", needs=VIDEO),
    "dreamix": MethodSpec("eve_cli.methods.dreamix:Dreamix", options=o.DreamixOptions, reads="captions", needs=VIDEO),
    "inversion": MethodSpec(
        "eve_cli.methods.inversion:Inversion", options=o.InversionOptions, reads="captions", needs=VIDEO
    ),
    "pnp": MethodSpec("eve_cli.methods.pnp:PnP", options=o.PnPOptions, reads="captions"),
    "tokenflow": MethodSpec("eve_cli.methods.tokenflow:TokenFlow", options=o.TokenFlowOptions, reads="captions"),
    "tune_a_video": MethodSpec(
        "eve_cli.methods.tune_a_video:TuneAVideo", options=o.TuneAVideoOptions, reads="captions", needs=VIDEO
    ),
    "fairy": MethodSpec("eve_cli.methods.fairy:Fairy", options=o.FairyOptions, needs=EDIT),
    "rave": MethodSpec("eve_cli.methods.rave:Rave", options=o.RaveOptions, needs=EDIT),
    "copy": MethodSpec("eve_cli.methods.copy:Copy", reads="nothing", framewise=True),
}


def spec(method: str) -> MethodSpec:
    """The row of a method; UsageError with the known names if there is none."""
    return registry.pick(METHODS, method, "method")


def check_parts(method: str, model: str, parts: Collection[str], *, picture: bool = False) -> None:
    """ModelError if a model lacks an adapter that a method needs."""
    for part in sorted(spec(method).needs):
        if part not in parts and not (picture and part == "video"):
            possible = [name for name, row in METHODS.items() if row.needs <= set(parts)]
            raise ModelError(
                f"The model {model} has no {part} adapter, which --method {method} needs: choose another model, or one "
                f"of the methods {', '.join(possible)}."
            )


def option_methods() -> dict[str, tuple[str, ...]]:
    """The methods that have an option, by the option's name."""
    methods: dict[str, tuple[str, ...]] = {}
    for method, row in METHODS.items():
        for item in fields(row.options):
            methods[item.name] = (*methods.get(item.name, ()), method)
    return methods


def options_from(method: str, values: Mapping[str, Any]) -> o.MethodOptions:
    """The options of a method from given values; UsageError for one of another method, or an invalid one."""
    methods = option_methods()
    for name in values:
        if method not in methods.get(name, (method,)):
            raise UsageError(f"--{_flag(name)} goes with --method {' or '.join(methods[name])}, not with {method}.")
    return from_mapping(spec(method).options, values, f"--method {method}")


def option_fields() -> list[tuple[str, Any, Any]]:
    """(name, type, field) of every option of every method, None unless given: for a command line that takes them all.

    Methods may share the name of an option; its type is then the same for all of them, its default need not be.
    """
    rows = []
    for name, methods in option_methods().items():
        options = METHODS[methods[0]].options
        rows.append((name, field_types(options)[name] | None, setting(None, **_declaration(name, methods))))
    return rows


def _declaration(name: str, methods: tuple[str, ...]) -> dict[str, Any]:
    """How a command line shows an option: the first method's text and bounds, and all defaults."""
    items: dict[str, Field] = {
        method: next(item for item in fields(METHODS[method].options) if item.name == name) for method in methods
    }
    first, flag = items[methods[0]], _flag(name)
    defaults = {method: item.default for method, item in items.items() if item.default not in (None, False)}
    default_text = ", ".join(dict.fromkeys(str(value) for value in defaults.values()))
    if len(set(defaults.values())) > 1 or len(defaults) < len(methods):
        default_text = ", ".join(f"{value} for {method}" for method, value in defaults.items())
    help = first.metadata["help"] + (f" (default: {default_text})" if defaults and first.default is not True else "")
    single = len(methods) == 1
    return {
        "flags": (f"--{flag}/--no-{flag}" if first.default is True else f"--{flag}",),
        **first.metadata,
        "help": help if single else f"{', '.join(methods)}: {help}",
        "panel": f"Method {methods[0]}" if single else "Several methods",
    }


def _flag(name: str) -> str:
    return name.replace("_", "-")
