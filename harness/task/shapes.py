"""Rendered shapes with the exact answer of every pixel: class, part, depth, normal, edge, and the nearest object.

Each scene is a tilted ground and a few objects over it, seen from straight above (orthographic), lit by one lamp.
Colours and stripes say nothing of the class: it shows in outline and shading alone. Shapes: S pixels a side; x goes
right, y down, depth away from the eye; lengths are in units of half the image.
"""

import dataclasses

import numpy as np

CLASSES = ("ground", "sphere", "cone", "pyramid", "cylinder", "tile")
PARTS = ("none", "upper", "lower")


@dataclasses.dataclass
class Scene:
    """An image (S, S, 3) as bytes and its answers: classes, parts, depth and masks (S, S), normals (S, S, 3)."""

    image: np.ndarray
    segmentation: np.ndarray
    parts: np.ndarray
    saliency: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    edges: np.ndarray


def render(size: int, rng: np.random.Generator) -> Scene:
    """One scene, a function of the generator's state alone."""
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    x, y = np.meshgrid(axis, axis)
    tilt = rng.uniform(-0.4, 0.4, 2)
    depth = 3 + tilt[0] * x + tilt[1] * y
    normals = np.broadcast_to(_unit(np.array([tilt[0], tilt[1], -1.0])), (size, size, 3)).copy()
    owner, classes, parts = (np.zeros((size, size), dtype=np.int64) for _ in range(3))
    albedo = _surface(x, y, rng)
    for number in range(1, 1 + int(rng.integers(2, 6))):
        kind = int(rng.integers(1, len(CLASSES)))
        centre, radius = rng.uniform(-0.7, 0.7, 2), rng.uniform(0.2, 0.5)
        inside, top, normal = _object(kind, x - centre[0], y - centre[1], radius, rng)
        top = top + rng.uniform(1.5, 2.2)
        mine = inside & (top < depth)
        depth[mine], normals[mine], owner[mine], classes[mine] = top[mine], normal[mine], number, kind
        parts[mine] = np.where(y[mine] < centre[1], 1, 2)
        albedo[mine] = _surface(x, y, rng)[mine]
    light = _unit(np.array([*rng.uniform(-0.7, 0.7, 2), -1.0]))
    shade = 0.25 + 0.75 * np.clip(normals @ light, 0, 1)
    noisy = albedo * shade[..., None] * 255 + rng.normal(0, 6, (size, size, 3))
    return Scene(
        image=np.clip(np.rint(noisy), 0, 255).astype(np.uint8),
        segmentation=classes,
        parts=parts,
        saliency=_nearest(owner, depth),
        depth=depth.astype(np.float32),
        normals=normals.astype(np.float32),
        edges=_edges(owner),
    )


def _object(
    kind: int, x: np.ndarray, y: np.ndarray, radius: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render an object: its mask (S, S), its surface's depth under its centre's (S, S), and its normals (S, S, 3)."""
    angle, slope = rng.uniform(0, np.pi), rng.uniform(-0.8, 0.8, 2)
    height = radius * rng.uniform(0.8, 1.6)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    along_u, along_v = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    distance = np.hypot(x, y)
    square = (np.abs(u) < radius) & (np.abs(v) < radius)
    match CLASSES[kind]:
        case "sphere":
            inside = distance < radius
            top = -np.sqrt(np.where(inside, radius**2 - distance**2, 0))
            gradient = np.stack([x, y], -1) / np.maximum(-top, 1e-3)[..., None]
        case "cone":
            inside, top = distance < radius, height * (distance / radius - 1)
            gradient = height / radius * np.stack([x, y], -1) / np.maximum(distance, 1e-9)[..., None]
        case "pyramid":
            inside, top = square, height * (np.maximum(np.abs(u), np.abs(v)) / radius - 1)
            by_u = (np.abs(u) > np.abs(v))[..., None]
            gradient = (
                height / radius * np.where(by_u, np.sign(u)[..., None] * along_u, np.sign(v)[..., None] * along_v)
            )
        case "cylinder":
            inside = (np.abs(u) < 0.6 * radius) & (np.abs(v) < radius)
            top = -np.sqrt(np.where(inside, (0.6 * radius) ** 2 - u**2, 0))
            gradient = (u / np.maximum(-top, 1e-3))[..., None] * along_u
        case _:
            inside, top = square, slope[0] * x + slope[1] * y
            gradient = np.broadcast_to(slope, (*x.shape, 2))
    # The surface z(x, y) has the normal (dz/dx, dz/dy, -1): towards the eye.
    return inside, top, _unit(np.concatenate([gradient, -np.ones((*x.shape, 1))], -1))


def _surface(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The colour of a surface (S, S, 3): one, with stripes of another."""
    one, other = rng.uniform(0.3, 1, (2, 3))
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.15, 0.6)
    stripes = np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period) > rng.uniform(0, 1)
    return np.asarray(np.where(stripes[..., None], other, one))


def _nearest(owner: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """1 on the object that comes nearest to the eye."""
    nearest = owner.flat[np.where(owner > 0, depth, np.inf).argmin()]
    return np.asarray((owner == nearest) & (owner > 0), dtype=np.float32)


def _edges(owner: np.ndarray) -> np.ndarray:
    """1 where the pixel to the right or below is of another surface."""
    edges = np.zeros(owner.shape, dtype=np.float32)
    edges[:, :-1] += owner[:, 1:] != owner[:, :-1]
    edges[:-1] += owner[1:] != owner[:-1]
    return np.asarray(np.minimum(edges, 1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
