"""A server of the study's database that goes away for a while; and what its URL may not say.

A server is restarted, a network fails for a minute: a worker then waits, opens the study anew and
goes on as after a kill, with the model still loaded. What the server had confirmed is there.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    OperationalError,
)

from snakesteer.errors import UserError

logger = logging.getLogger(__name__)

URL_VARIABLE = "SNAKESTEER_STUDY_URL"
OUTAGE_SECONDS = 600.0  # how long a server may be away
RETRY_SECONDS = 2.0
# Outages in a row in which no trial could be finished: a server that answers, and yet refuses.
FRUITLESS = 3

T = TypeVar("T")


def check_url(url: str) -> None:
    """Refuse what is no URL, in words that hold nothing of it.

    With an "@" that is not escaped a part of a password would be taken for the host, which error
    messages of drivers show.

    Raises:
        UserError: It cannot be read, or has more than one "@".
    """
    try:
        readable = make_url(url) is not None and url.count("@") < 2
    except (ArgumentError, ValueError):
        readable = False
    if not readable:
        raise UserError(
            f"The database of {URL_VARIABLE} cannot be opened: its URL cannot be read",
            "It is like postgresql+psycopg2://user:password@host:5432/name; anywhere "
            "but before the host, @ is written as %40, and % as %25.",
        )


def is_outage(error: BaseException) -> bool:
    """Whether an exception, or one behind it, says that the database's server has gone away."""
    if not _has_server():
        return False
    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(before)
    return any(isinstance(one, DBAPIError) and _says_gone(one) for one in chain)


def _says_gone(error: DBAPIError) -> bool:
    """Drivers differ: a broken connection may be a plain `DatabaseError`, as in psycopg2's SSL."""
    gone = isinstance(error, (OperationalError, InterfaceError)) or type(error) is DatabaseError
    return gone or error.connection_invalidated


def through_outages(run: Callable[[], T], progress: Callable[[], int]) -> T:
    """Run something; where the server goes away, wait until it answers, and run it again.

    Args:
        run: May be run again, after its part that reached the database.
        progress: Grows with what has been finished.

    Raises:
        UserError: The server stays away, or nothing is finished between several outages.
    """
    outages, fruitless, before = 0, 0, progress()
    while True:
        try:
            return run()
        except Exception as error:
            # At the first try a server may be named wrongly, or refuse a password.
            if not is_outage(error) or (isinstance(error, UserError) and outages == 0):
                raise
            outages += 1
            now = progress()
            fruitless, before = (fruitless + 1 if now == before else 0), now
            if fruitless >= FRUITLESS:
                raise
            logger.warning(
                "the database of the search does not answer (%s): waiting up to %.0f minutes",
                type(error.__cause__ or error).__name__,
                OUTAGE_SECONDS / 60,
            )
        _wait()
        logger.info("the database answers again")


def _has_server() -> bool:
    url = os.environ.get(URL_VARIABLE, "")
    return url != "" and not url.startswith("sqlite")


def _wait() -> None:
    """Wait until the server lets somebody in.

    Raises:
        UserError: It does not in time.
    """
    engine = create_engine(os.environ[URL_VARIABLE])
    deadline = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            with engine.connect():
                return
        except DBAPIError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"The database of {URL_VARIABLE} has not answered for "
                    f"{OUTAGE_SECONDS / 60:.0f} minutes",
                    "Check that it runs, then run snakemake again; finished trials are kept.",
                ) from error
            time.sleep(RETRY_SECONDS)
        finally:
            engine.dispose()
