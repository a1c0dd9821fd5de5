"""run=status: how far a study has come, and who is at work on it."""

from harness.commands.job import HydraJob


def run(job: HydraJob) -> None:
    """Print how the study stands. No torch is imported."""
    from harness.cluster.monitor import study_status
    from harness.cluster.study_folder import load_study, study_folder

    config = load_study(job.config.results, job.config.study)
    print("\n".join(study_status(config, study_folder(config.results, config.study)).lines()))
