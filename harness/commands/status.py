"""run=status: how far a study, or a folder of single trials, has come, and who is at work on it."""

from harness.commands.job import HydraJob


def run(job: HydraJob) -> None:
    """Print how the study stands. No torch is imported."""
    from harness.cluster.monitor import single_status, study_status
    from harness.cluster.study_folder import holds_single_trials, load_study, study_folder

    folder = study_folder(job.config.results, job.config.study)
    if holds_single_trials(folder):
        print("\n".join(single_status(folder, job.config.launch.lease_s).lines()))
        return
    print("\n".join(study_status(load_study(job.config.results, job.config.study), folder).lines()))
