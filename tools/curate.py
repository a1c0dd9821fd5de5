"""Make the studies of results/recipes.yaml, and keep what README and docs/ show of them in results/curated/.

    python -m tools.curate [NAME …] [KEY=VALUE …]
    python -m tools.curate report [NAME …]

Without a name, all of them, one after another; a study that is finished is not trained again. Further words are given
to every study named. One that cannot be made is named at the end, and the exit code is 1.

`study.tar.xz` holds what a study's report is written from: records, configurations, curves and predictions, without
weights. `report` writes tables and pictures from it again, with the code that is there now, and trains nothing.
"""

import io
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

import harness
from harness.record import Record, Records
from harness.report import write_report

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "results/recipes.yaml"
CURATED = ROOT / "results/curated"
MADE = "made.md"
ARCHIVE = "study.tar.xz"
_ARCHIVED = ("records.jsonl", "config.yaml", "command.txt", "importances.json")
_ARCHIVED_OF_TRIALS = ("config.yaml", "metrics*.csv", "predictions*.csv")
_KEPT = ("table.md", "table.csv", "claims.md", "claims.csv", "*.png")


def main(words: Sequence[str]) -> int:
    """Make, or report again, what the words name; returns the exit code."""
    recipes: dict[str, list[str]] = yaml.safe_load(RECIPES.read_text())
    again = words[:1] == ["report"]
    names, more = [word for word in words[again:] if "=" not in word], [word for word in words if "=" in word]
    if unknown := [name for name in names if name not in recipes]:
        print(f"{', '.join(unknown)}: no such recipe; valid: {', '.join(recipes)}", file=sys.stderr)
        return 2
    if again:
        archived = [path.parent.name for path in sorted(CURATED.glob(f"*/{ARCHIVE}"))]
        failed = [name for name in names or archived if not report_again(name)]
    else:
        failed = [name for name in names or recipes if not make(name, recipes[name], more)]
    if failed:
        print(f"not made: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def make(name: str, commands: Sequence[str], more: Sequence[str]) -> bool:
    """Run a study's commands and keep what it wrote; False where a command failed."""
    *before, last = map(shlex.split, commands)
    for words in (*before, [*last, *more]):
        whole = [sys.executable, "-m", "harness", *words]
        print(f"$ {shlex.join(['python', *whole[1:]])}", flush=True)
        if subprocess.run(whole, cwd=ROOT, check=False).returncode:
            return False
    return keep(ROOT / "results" / name, CURATED / name)


def keep(study: Path, curated: Path) -> bool:
    """Copy a study's tables and pictures in place of those that were kept, and write down how they were made.

    False where the study wrote none: what was kept stays.
    """
    written = [path for pattern in _KEPT for path in sorted(study.glob(pattern))]
    if not written:
        print(f"{study}: neither tables nor pictures", file=sys.stderr)
        return False
    shutil.rmtree(curated, ignore_errors=True)
    curated.mkdir(parents=True)
    for path in written:
        shutil.copy(path, curated / path.name)
    if (study / harness.record.RECORDS).is_file():
        (curated / MADE).write_text(made(harness.read(study)))
        archive(study, curated / ARCHIVE)
    return True


def archive(study: Path, file: Path) -> None:
    """Write what the report of a study is made from into a tar file, the same bytes for the same study."""
    found = [path for name in _ARCHIVED for path in study.glob(name)]
    found += [path for name in _ARCHIVED_OF_TRIALS for path in study.glob(f"trials/*/{name}")]
    with tarfile.open(file, "w:xz") as tar:
        for path in sorted(found):
            content = _without_place(path)
            entry = tarfile.TarInfo(str(path.relative_to(study)))
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _without_place(path: Path) -> bytes:
    """A file's bytes; of a configuration, without the folder of the machine that holds the results."""
    if path.name != "config.yaml":
        return path.read_bytes()
    return re.sub(rb"(?m)^results: .*$", b"results: results", path.read_bytes())


def report_again(name: str) -> bool:
    """Write a curated study's tables and pictures from its archive."""
    with tempfile.TemporaryDirectory() as folder:
        write_report(unpack(name, Path(folder)))
        return keep(Path(folder) / name, CURATED / name)


def unpack(name: str, folder: Path) -> Path:
    """Unpack a curated study's archive into a folder of the study's name; returns it."""
    with tarfile.open(CURATED / name / ARCHIVE) as tar:
        tar.extractall(folder / name, filter="data")
    return folder / name


def made(records: Records) -> str:
    """Describe in Markdown how a study was made: command, trials, seeds, revision, versions, machine, time."""
    searched, confirmed = ([entry for entry in records if entry.phase == phase] for phase in ("search", "confirm"))
    trials = f"{len(searched):,} of the search" + (f", {len(confirmed):,} that confirm" if confirmed else "")
    seeds = sorted({entry.seeds.trial for entry in records})
    rows = {
        "trials": f"{trials}; {_counted(entry.state for entry in records)}",
        "seeds": ", ".join(map(str, seeds)),
        "revision": _counted(_revision(entry) for entry in records),
        "versions": _counted(_versions(entry) for entry in records),
        "machine": _counted(_machine(entry) for entry in records),
        "time of trials": f"{sum(entry.time.total_s or 0.0 for entry in records) / 60:.0f} minutes",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"# How it was made\n\n```sh\n{records[0].command}\n```\n\n| | |\n|---|---|\n{table}\n"


def _counted(values: Iterable[str]) -> str:
    """Each different value, with how many trials have it where they are several."""
    found = Counter(values)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{value} ({count})" for value, count in found.most_common())


def _revision(entry: Record) -> str:
    source = entry.provenance.source
    dirty = ", with changes of its own" if source.get("dirty") else ""
    return f"{source.get('origin', 'unknown')} {str(source.get('revision') or '')[:12]}{dirty}".strip()


def _versions(entry: Record) -> str:
    versions = entry.provenance.versions
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _machine(entry: Record) -> str:
    where, hardware = entry.provenance.environment, entry.provenance.hardware
    known = [
        hardware.get("gpu") or hardware.get("cpu"),
        where.get("instructions"),
        f"{hardware.get('threads')} threads",
    ]
    return ", ".join(str(part) for part in known if part)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
