"""What run=status needs is light, whatever the rest of the package needs."""

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning", "optuna", "wandb", "pandas", "transformers", "sqlalchemy", "psycopg", "matplotlib")


@pytest.mark.parametrize("module", ["monitor", "study_folder", "launchers.slurm_jobs"])
def test_it_imports_no_library_that_trains_searches_or_draws(module):
    script = f"import sys, harness.cluster.{module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_STORAGE")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
