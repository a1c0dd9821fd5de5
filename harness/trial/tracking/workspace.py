"""A view of a study for W&B's pages: scores, costs, curves and layers in panels, built from the keys that runs have."""

from typing import Any

from harness.config import TrackingConfig

_COLUMNS = ("score/val", "score/test", "rank", "params/trained", "memory/peak", "time/step_median_s")


def workspace_of(settings: TrackingConfig, study: str, metric: str) -> Any:
    """The view of a study's group, best on top; `metric` is what its validation curves are of. Nothing is sent."""
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

    up = metric != "loss"
    score, test = reports.SummaryMetric("score/val"), reports.SummaryMetric("score/test")
    columns = ("lora.rank", "optimizer.lr", "lora.scale")
    parallel = [reports.ParallelCoordinatesPlotColumn(metric=reports.Config(name)) for name in columns]
    parallel.append(reports.ParallelCoordinatesPlotColumn(metric=score))
    scores = [
        reports.ScatterPlot(
            title="Validation score against trained parameters",
            x=reports.SummaryMetric("params/trained"),
            y=score,
            log_x=True,
        ),
        reports.ScatterPlot(
            title="Validation score against peak memory", x=reports.SummaryMetric("memory/peak"), y=score
        ),
        reports.ScatterPlot(title="Validation score against rank", x=reports.SummaryMetric("rank"), y=score),
        reports.ScatterPlot(title="Test score of what was scored on it", x=reports.SummaryMetric("rank"), y=test),
        reports.ParallelCoordinatesPlot(title="Settings and score", columns=parallel),
    ]
    curves = [
        reports.LinePlot(title="Validation", x="Step", y=[f"val_{metric}"], groupby=reports.Config("arm")),
        reports.LinePlot(title="Training loss", x="Step", y=["train_loss"], groupby=reports.Config("arm")),
    ]
    sections = [
        workspaces.Section(name="Scores and costs", panels=scores, is_open=True),
        workspaces.Section(name="Learning curves", panels=curves, is_open=True),
    ]
    runs = workspaces.RunsetSettings(
        filters=[workspaces.Metric("Group") == study],
        order=[workspaces.Ordering(workspaces.Summary("score/val"), ascending=not up)],
        pinned_columns=[f"summary:{name}" for name in _COLUMNS],
    )
    return workspaces.Workspace(
        entity=settings.entity or "",
        project=settings.project,
        name=f"{study}: rank, cost and score",
        sections=sections,
        runset_settings=runs,
    )
