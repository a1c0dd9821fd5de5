"""The two pictures of a rank study: accuracy against cost with the Pareto front, and accuracy against rank."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("MPLCONFIGDIR", os.path.join(tempfile.gettempdir(), f"matplotlib-{os.getuid()}"))

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from harness.record import Record
from harness.report.table import MIB, ArmResult, cost_of, pareto

# Okabe and Ito's colours: told apart with any colour vision; markers differ too, for print.
_STYLE = {
    "lora": ("#0072B2", "o", "LoRA"),
    "full": ("#D55E00", "s", "full fine-tuning"),
    "head": ("#009E73", "^", "head only (frozen base)"),
}


def pareto_picture(records: Sequence[Record], title: str, path: Path) -> None:
    """Validation accuracy of every complete trial against trainable parameters, and against peak memory."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    left.set_xscale("log")
    _costs(left, records, "trainable", 1)
    left.set_xlabel("trainable parameters")
    left.set_ylabel("validation accuracy")
    _costs(right, records, "memory", MIB)
    kind = next((entry.memory["kind"] for entry in records if entry.memory), "")
    right.set_xlabel(f"peak memory in training above the bare process, MiB ({kind})")
    left.legend(loc="best", fontsize=9)
    figure.suptitle(f"{title}: every complete trial; line: the Pareto front")
    _save(figure, path)


def _costs(axes: Axes, records: Sequence[Record], cost: str, unit: int) -> None:
    complete = [entry for entry in records if entry.state == "complete"]
    for name in dict.fromkeys(entry.lora["name"] for entry in complete):
        colour, marker, label = _STYLE[name]
        mine = [entry for entry in complete if entry.lora["name"] == name]
        axes.scatter(
            [cost_of(entry, cost) / unit for entry in mine],
            [entry.scores["val"]["accuracy"] for entry in mine],
            color=colour,
            marker=marker,
            label=label,
            s=42,
            alpha=0.75,
            linewidths=0,
        )
    front = pareto(records, cost)
    axes.step(
        [cost_of(entry, cost) / unit for entry in front],
        [entry.scores["val"]["accuracy"] for entry in front],
        where="post",
        color="#444444",
        linewidth=1,
        zorder=0,
    )
    axes.margins(y=0.12)
    placed: list[tuple[float, float]] = []
    for entry in reversed(front):  # the best first: a label that would lie on another is left out
        point = (cost_of(entry, cost) / unit, entry.scores["val"]["accuracy"])
        x, y = axes.transData.transform(point)
        if any(abs(x - left) < 40 and abs(y - low) < 16 for left, low in placed):
            continue
        placed.append((x, y))
        axes.annotate(
            f"r{entry.lora['rank']}" if "rank" in entry.lora else entry.arm,
            point,
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    axes.grid(alpha=0.25)


def rank_picture(records: Sequence[Record], results: Sequence[ArmResult], title: str, path: Path) -> None:
    """Accuracy against rank: each arm's best trial on test with its 95 % interval, all trials on validation behind."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    ranked = [result for result in results if "rank" in result.best.lora]
    tried = [entry for entry in records if entry.state == "complete" and "rank" in entry.lora]
    colour, marker, _ = _STYLE["lora"]
    axes.scatter(
        [entry.lora["rank"] for entry in tried],
        [entry.scores["val"]["accuracy"] for entry in tried],
        color="#999999",
        marker="x",
        s=30,
        linewidths=1,
        label="each complete trial, on validation",
    )
    ranks = [result.best.lora["rank"] for result in ranked]
    scores = [result.best.scores["test"]["accuracy"] for result in ranked]
    axes.errorbar(
        ranks,
        scores,
        yerr=_bars(ranked),
        color=colour,
        marker=marker,
        capsize=3,
        linewidth=1.4,
        label="LoRA, best on validation, on test with 95 % interval",
    )
    for result in results:
        if "rank" not in result.best.lora:
            colour, _, label = _STYLE[result.best.lora["name"]]
            score = result.best.scores["test"]["accuracy"]
            axes.axhline(score, color=colour, linestyle="--", linewidth=1.4, label=f"{label}, on test: {score:.3f}")
            axes.axhspan(*result.interval, color=colour, alpha=0.08, linewidth=0)
    if ranks:
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(set(ranks)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("LoRA rank")
    axes.set_ylabel("accuracy")
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)
    _save(figure, path)


def _bars(results: Sequence[ArmResult]) -> list[list[float]]:
    scores = [result.best.scores["test"]["accuracy"] for result in results]
    below = [score - result.interval[0] for score, result in zip(scores, results, strict=True)]
    above = [result.interval[1] - score for score, result in zip(scores, results, strict=True)]
    return [below, above]


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
