"""The command that measures the code's structure says what it takes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_what_is_no_tree_is_refused_and_help_is_given():
    command = [sys.executable, "-m", "tests.house"]
    helped = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--no-check" in helped.stdout
    refused = subprocess.run([*command, "nowhere"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "no tree of this project: nowhere" in refused.stderr
