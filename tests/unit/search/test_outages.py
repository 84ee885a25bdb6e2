"""A database's server that goes away is waited for; what else fails is not."""

from collections.abc import Callable

import pytest
from sqlalchemy.exc import DatabaseError, IntegrityError, InternalError, OperationalError

from snakesteer.errors import UserError
from snakesteer.search import outages
from snakesteer.search.outages import URL_VARIABLE, check_url, is_outage, through_outages

GONE = OperationalError("SELECT 1", {}, Exception("server closed the connection"))


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often was waited."""
    found: list[str] = []
    monkeypatch.setenv(URL_VARIABLE, "postgresql+psycopg2://user:secret@localhost:1/none")
    monkeypatch.setattr(outages, "_wait", lambda: found.append("waited"))
    return found


def failing(*errors: Exception) -> Callable[[], str]:
    """Fails so often, then says that it is done."""
    left = list(errors)

    def run() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return run


def opened_in_vain() -> UserError:
    error = UserError("It cannot be opened", "Check the URL.")
    error.__cause__ = GONE
    return error


def test_it_goes_on_after_each_outage(waits: list[str]):
    assert through_outages(failing(GONE, opened_in_vain()), lambda: 0) == "done"
    assert len(waits) == 2


def test_without_progress_it_gives_up(waits: list[str]):
    run = failing(*[GONE] * 10)
    with pytest.raises(OperationalError):
        through_outages(run, lambda: 0)
    assert len(waits) == outages.FRUITLESS - 1
    numbers = iter(range(100))
    assert through_outages(failing(*[GONE] * 10), lambda: next(numbers)) == "done"


def test_a_server_that_was_never_there_is_not_waited_for(waits: list[str]):
    with pytest.raises(UserError, match="cannot be opened"):
        through_outages(failing(opened_in_vain()), lambda: 0)
    assert waits == []


@pytest.mark.parametrize("url", [None, "", "sqlite:////tmp/study.db"])
def test_a_file_has_no_outages(url: str | None, monkeypatch: pytest.MonkeyPatch, waits: list[str]):
    monkeypatch.delenv(URL_VARIABLE)
    if url is not None:
        monkeypatch.setenv(URL_VARIABLE, url)
    assert not is_outage(GONE)
    with pytest.raises(OperationalError):
        through_outages(failing(GONE), lambda: 0)
    assert waits == []


def test_drivers_say_it_in_their_own_ways():
    said = ("SELECT 1", {}, Exception("SSL SYSCALL error: EOF detected"))
    assert is_outage(DatabaseError(*said))
    assert is_outage(InternalError(*said, connection_invalidated=True))
    assert not is_outage(InternalError(*said))
    assert not is_outage(IntegrityError(*said))


def test_a_bug_is_no_outage(waits: list[str]):
    with pytest.raises(ZeroDivisionError):
        through_outages(failing(ZeroDivisionError()), lambda: 0)
    assert waits == []


def test_a_server_that_stays_away(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    pytest.importorskip("psycopg2")
    monkeypatch.setenv(URL_VARIABLE, "postgresql+psycopg2://user:secret@127.0.0.1:1/none")
    monkeypatch.setattr(outages, "OUTAGE_SECONDS", 0.3)
    monkeypatch.setattr(outages, "RETRY_SECONDS", 0.1)
    with pytest.raises(UserError, match="has not answered") as caught:
        through_outages(failing(GONE), lambda: 0)
    assert "secret" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("url", ["postgresql://user:sec@ret@host/name", "sec ret"])
def test_a_url_that_cannot_be_read_is_refused_without_its_words(url: str):
    with pytest.raises(UserError, match="its URL cannot be read") as caught:
        check_url(url)
    assert caught.value.__cause__ is None
    for part in ("sec", "ret@"):
        assert part not in str(caught.value)


def test_urls_that_can_be_read():
    check_url("postgresql+psycopg2://user:s%40c/r?et@host:5432/name")
    check_url("postgresql+psycopg2://host/name")
    check_url("sqlite:////tmp/study.db")
