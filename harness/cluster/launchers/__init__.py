"""Launchers of a study's workers: in this process, as processes on this machine, or as SLURM jobs."""
