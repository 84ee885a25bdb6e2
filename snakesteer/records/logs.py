"""What a rule's script says: to its log file, and to the terminal where that helps."""

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from snakesteer.errors import UserError
from snakesteer.records.library_errors import anywhere
from snakesteer.records.live_runs import join_run

logger = logging.getLogger("snakesteer")


@contextmanager
def script_log(path: str | Path) -> Iterator[logging.Logger]:
    """Send a script's messages, warnings and failures to its log file.

    Meanwhile the script counts as a job of its run, which the next run waits for.

    A `UserError`, and what `snakesteer.records.library_errors` knows, becomes its one paragraph and
    exit status 1; what a library raised is written in full beside the log, as ``….traceback``. Any
    other exception is a bug: it is written with its traceback and raised again.

    Args:
        path: The rule's log file.

    Yields:
        The logger ``snakesteer``.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    _beside(path).unlink(missing_ok=True)
    handler = _LogFile(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logger.setLevel(logging.INFO)
    logging.captureWarnings(True)
    joined = None
    try:
        joined = join_run()
        yield logger
    except BaseException as error:
        said = error if isinstance(error, UserError) else anywhere(error)
        if said is None:
            root.error("uncaught %s\n%s", type(error).__name__, traceback.format_exc())
            raise
        if said is not error or error.__cause__ is not None:
            _write_beside(path)
        _fail(str(said))
    finally:
        if joined is not None:
            joined.close()
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()


class _LogFile(logging.FileHandler):
    """A log file whose own failure, on a full disk, hides no message."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: the message is on its way to the terminal as well."""

    def close(self) -> None:
        """Close the file, though not all of it may have been written."""
        with suppress(OSError):
            super().close()


def _fail(message: str) -> None:
    logger.error(message)
    print(f"error: {message}", file=sys.stderr)
    # SystemExit would make Snakemake print the script's stack as well; the paragraph is enough.
    raise SystemExit(1)


def _beside(path: str | Path) -> Path:
    return Path(path).with_suffix(".traceback")


def _write_beside(path: str | Path) -> None:
    """Keep the traceback; not in the log, which Snakemake shows to the user."""
    with suppress(OSError):  # the disk may be full
        _beside(path).write_text(traceback.format_exc(), encoding="utf-8")
        logger.info("what was raised, in full: %s", _beside(path))
