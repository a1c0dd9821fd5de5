"""The pictures of groups of arms, of trials that learn one task."""

import re
from collections.abc import Sequence
from pathlib import Path

from harness.config import stored_sweep
from harness.report import plots
from harness.report.groups import shortened
from harness.report.html import Group
from harness.report.importance import read_importances
from harness.report.importance_picture import importance_picture
from harness.report.layer_rank_picture import layer_rank_picture, shown_arms


def draw_groups(groups: Sequence[Group], folder: Path) -> list[str]:
    """The pictures of each group that has several arms, named by what tells it apart."""
    if len(groups) == 1:
        written = _draw_group(groups[0], folder, "")
    else:
        endings = [re.sub(r"[^\w.+-]+", "_", f"-{group.alike or number}") for number, group in enumerate(groups)]
        several = [(group, end) for group, end in zip(groups, endings, strict=True) if len(group.results) > 1]
        written = [name for group, end in several for name in _draw_group(shortened(group), folder, end)]
    if (found := read_importances(folder)) is not None and found["shares"]:
        importance_picture(found, groups[0].title, folder / "importances.png")
        written.append("importances.png")
    return written


def _draw_group(group: Group, folder: Path, ending: str) -> list[str]:
    names = []
    if group.confirmed is not None:
        names += [_ended("confirmed.png", ending), _ended("learning_curves.png", ending)]
        plots.confirmed_picture(group.confirmed, group.title, folder / names[0])
        plots.curves_picture(group.confirmed, group.title, folder / names[1])
    if any(result.best for result in group.results):
        pareto = _ended("pareto.png", ending)
        plots.pareto_picture(group.searched, group.title, folder / pareto)
        names += [pareto, _draw_ranks(group, folder, ending)]
    return names


def _draw_ranks(group: Group, folder: Path, ending: str) -> str:
    """The score against rank or, where the ranks of layers are searched, those of each arm; returns the file's name."""
    if stored_sweep(folder).get("ranks") is None:
        name = _ended("rank_curve.png", ending)
        plots.rank_picture(group.searched, group.results, group.title, folder / name)
        return name
    name = _ended("layer_ranks.png", ending)
    layer_rank_picture(shown_arms(group.results, group.confirmed), group.title, folder / name)
    return name


def _ended(name: str, ending: str) -> str:
    """The name of a picture with something more before its suffix."""
    return str(Path(name).with_stem(Path(name).stem + ending))
