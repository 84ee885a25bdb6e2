"""What runs share, to be found in the folder of each."""

import os
from collections.abc import Iterable
from pathlib import Path

# Folders whose parts come from several stages.
_DEEPER = ("vectors", "logs", "benchmarks")


def link_shared(results: str | Path, folders: Iterable[str | Path]) -> None:
    """Link the contents of shared folders into a run's own, which so looks like a single run's.

    Args:
        results: The run's own folder.
        folders: Of the stages; the run's own among them is passed over.
    """
    for folder in map(Path, folders):
        if folder != Path(results):
            for child in sorted(folder.glob("[!.]*")):
                if child.name in _DEEPER:
                    for part in sorted(child.glob("[!.]*")):
                        _link(Path(results, child.name, part.name), part)
                else:
                    _link(Path(results, child.name), child)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink():
        link.unlink()
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(target, link.parent))
