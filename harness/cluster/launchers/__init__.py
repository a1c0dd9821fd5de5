"""Where the workers of a study run: in this process, as processes of this machine, or as SLURM jobs."""
