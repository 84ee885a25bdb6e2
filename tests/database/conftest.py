"""The finished run of the workflow's tests."""

from tests.workflow.conftest import finished, finished_copy, fresh

__all__ = ["finished", "finished_copy", "fresh"]
