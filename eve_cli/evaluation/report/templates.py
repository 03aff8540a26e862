"""HTML pages from Jinja2 templates that lie in a package; all values are escaped."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render(package: str, template: str, **values: Any) -> str:
    """The page of a template in `package`; text values are escaped, Markup is not."""
    return _environment(package).get_template(template).render(values)


def resource(package: str, name: str) -> Markup:
    """The text of a style or script file of a package, to be inlined."""
    from markupsafe import Markup

    return Markup(files(package).joinpath(name).read_text(encoding="utf-8"))


def script_json(data: Any) -> Markup:
    """JSON for a `<script>` element; no text in it can end the element."""
    import json

    from markupsafe import Markup

    return Markup(json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"))


@cache
def _environment(package: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader(package, ".")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
