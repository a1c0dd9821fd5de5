"""Copy docs/ and the curated results into one folder, from which the site is built: `make docs`.

Pages link to pictures under results/curated, so that the links hold where the repository is read as it is. A site is
one folder: the copy has the results inside, and its links say so.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def stage(target: Path) -> None:
    """Write the site's sources into `target`, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "docs", target, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copytree(ROOT / "results/curated", target / "curated")
    for path in target.rglob("*.md"):
        text = re.sub(r"\]\(((?:\.\./)+)results/curated/", _inside, path.read_text())
        path.write_text(text)


def _inside(link: re.Match[str]) -> str:
    return f"]({link[1].removeprefix('../')}curated/"


if __name__ == "__main__":
    stage(Path(sys.argv[1]))
