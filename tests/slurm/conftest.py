"""The finished run of the workflow's tests, and a project in which nothing was run yet."""

from tests.workflow.conftest import finished, finished_copy, fresh, fresh_copy

__all__ = ["finished", "finished_copy", "fresh", "fresh_copy"]
