"""What a rule's script says: to its log file, and to the terminal where that helps."""

import errno
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from snakesteer.errors import UserError

logger = logging.getLogger("snakesteer")


@contextmanager
def script_log(path: str | Path) -> Iterator[logging.Logger]:
    """Send a script's messages, warnings and failures to its log file.

    A `UserError` becomes its one paragraph, without a traceback, and exit status 1. Any other
    exception is written with its traceback and raised again. Running out of memory or disk space is
    named as such.

    Args:
        path: The rule's log file.

    Yields:
        The logger ``snakesteer``.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logger.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield logger
    except UserError as error:
        _fail(str(error))
    except BaseException as error:
        root.error("uncaught %s\n%s", type(error).__name__, traceback.format_exc())
        if _out_of_memory(error):
            _fail(
                f"Out of memory: {error}. Use fewer engine.slots (or a smaller "
                "engine.batch_size for the reference engine), a smaller dtype "
                "(model.dtype: bfloat16) or a smaller model, or ask for more memory."
            )
        if _disk_full(error):
            _fail(
                "The disk is full, or a quota or limit on files is reached: "
                f"{str(error).splitlines()[0]}. Make room (or set results to another disk; "
                "temporary files are in TMPDIR) and run snakemake again; what is finished is kept."
            )
        raise
    finally:
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


def _disk_full(error: BaseException) -> bool:
    """Whether an exception says "no space left", in the words of the system or of SQLite."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    return any(words in str(error) for words in ("No space left on device", "disk is full"))


def _out_of_memory(error: BaseException) -> bool:
    """Whether an exception is the host's or an accelerator's way of saying "no memory left"."""
    if isinstance(error, MemoryError):
        return True
    if "OutOfMemoryError" in type(error).__name__:
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )
