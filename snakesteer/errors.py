"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can put right: a bad config, a missing model, a corrupt file.

    The message is one paragraph that names what is wrong and what to do about it. Scripts print it
    without a traceback and exit with 1.

    Args:
        problem: What is wrong, naming the key, value, file or line.
        remedy: What the user should do.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        end = "" if problem.endswith("?") else "."
        super().__init__(f"{problem.rstrip('.')}{end} {remedy}")

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str]]:
        """Pickle by both arguments, so that the error survives a worker process."""
        return type(self), (self.problem, self.remedy)
