"""The things as signed distance functions, batched: positive outside, in the thing's own units (it spans -1 to 1)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, maximum, minimum

Part = tuple[Tensor, str]  # signed distance (n, height, width) and the paint it gets


def circle(x: Tensor, y: Tensor, cx: float, cy: float, r: float) -> Tensor:
    return ((x - cx).square() + (y - cy).square()).sqrt() - r


def ellipse(x: Tensor, y: Tensor, cx: float, cy: float, rx: float, ry: float) -> Tensor:
    k = (((x - cx) / rx).square() + ((y - cy) / ry).square()).clamp_min(1e-6).sqrt()
    return (k - 1) * min(rx, ry)


def box(x: Tensor, y: Tensor, cx: float, cy: float, hx: float, hy: float, r: float = 0.0) -> Tensor:
    dx, dy = (x - cx).abs() - (hx - r), (y - cy).abs() - (hy - r)
    outside = (dx.clamp_min(0).square() + dy.clamp_min(0).square()).sqrt()
    return outside + maximum(dx, dy).clamp_max(0) - r


def polygon(x: Tensor, y: Tensor, *points: tuple[float, float]) -> Tensor:
    """A convex polygon, its corners in clockwise order on the screen (y down)."""
    result: Tensor | None = None
    for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
        ex, ey = bx - ax, by - ay
        length = (ex * ex + ey * ey) ** 0.5
        side = ((x - ax) * ey - (y - ay) * ex) / length
        result = side if result is None else maximum(result, side)
    assert result is not None
    return result


def car(x: Tensor, y: Tensor) -> list[Part]:
    cabin = polygon(x, y, (-0.42, -0.5), (0.3, -0.5), (0.58, 0.0), (-0.62, 0.0))
    window = polygon(x, y, (-0.32, -0.37), (0.2, -0.37), (0.38, -0.04), (-0.42, -0.04))
    return [
        (minimum(box(x, y, 0, 0.17, 1.0, 0.27, 0.14), cabin), "body"),
        (window, "glass"),
        (minimum(circle(x, y, -0.55, 0.43, 0.24), circle(x, y, 0.55, 0.43, 0.24)), "dark"),
        (minimum(circle(x, y, -0.55, 0.43, 0.09), circle(x, y, 0.55, 0.43, 0.09)), "light"),
    ]


def boat(x: Tensor, y: Tensor) -> list[Part]:
    return [
        (box(x, y, -0.05, -0.2, 0.05, 0.75), "wood"),
        (polygon(x, y, (0.06, -0.9), (0.8, 0.2), (0.06, 0.2)), "body"),
        (polygon(x, y, (-0.16, -0.7), (-0.16, 0.2), (-0.7, 0.2)), "light"),
        (polygon(x, y, (-1.0, 0.3), (1.0, 0.3), (0.6, 0.82), (-0.65, 0.82)), "body"),
    ]


def ball(x: Tensor, y: Tensor) -> list[Part]:
    return [(circle(x, y, 0, 0, 0.92), "body"), (ellipse(x, y, -0.36, -0.42, 0.2, 0.15), "light")]


def balloon(x: Tensor, y: Tensor) -> list[Part]:
    ropes = minimum(
        polygon(x, y, (-0.42, 0.3), (-0.34, 0.3), (-0.16, 0.82), (-0.22, 0.82)),
        polygon(x, y, (0.34, 0.3), (0.42, 0.3), (0.22, 0.82), (0.16, 0.82)),
    )
    return [
        (ropes, "dark"),
        (ellipse(x, y, 0, -0.28, 0.78, 0.82), "body"),
        (box(x, y, 0, 0.92, 0.25, 0.17, 0.05), "wood"),
    ]


def bird(x: Tensor, y: Tensor) -> list[Part]:
    return [
        (polygon(x, y, (-1.0, -0.22), (-0.45, -0.05), (-0.45, 0.3)), "body"),
        (polygon(x, y, (0.78, -0.3), (1.05, -0.14), (0.76, 0.0)), "beak"),
        (minimum(ellipse(x, y, -0.05, 0.1, 0.66, 0.4), circle(x, y, 0.56, -0.2, 0.33)), "body"),
        (polygon(x, y, (-0.5, -0.75), (0.3, 0.02), (-0.25, 0.2)), "shade"),
        (circle(x, y, 0.64, -0.27, 0.09), "dark"),
    ]


def house(x: Tensor, y: Tensor) -> list[Part]:
    return [
        (box(x, y, 0, 0.38, 0.78, 0.57), "body"),
        (polygon(x, y, (0.0, -0.95), (1.0, -0.12), (-1.0, -0.12)), "shade"),
        (box(x, y, 0.34, 0.6, 0.19, 0.35), "dark"),
        (box(x, y, -0.34, 0.32, 0.22, 0.2), "glass"),
    ]


def tree(x: Tensor, y: Tensor) -> list[Part]:
    crown = minimum(
        circle(x, y, 0, -0.42, 0.56), minimum(circle(x, y, -0.42, -0.08, 0.45), circle(x, y, 0.42, -0.08, 0.45))
    )
    return [(box(x, y, 0, 0.6, 0.15, 0.4), "wood"), (crown, "body")]


SHAPES: dict[str, Callable[[Tensor, Tensor], list[Part]]] = {
    "car": car,
    "boat": boat,
    "ball": ball,
    "balloon": balloon,
    "bird": bird,
    "house": house,
    "tree": tree,
}
