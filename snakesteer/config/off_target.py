"""What steering breaks elsewhere."""

import re
from importlib.metadata import PackageNotFoundError, version

from pydantic import Field, ValidationInfo, field_validator, model_validator

from snakesteer.config.section import Section, check_braces, check_once, written_out
from snakesteer.errors import UserError

# The oldest lm-evaluation-harness that does; a test holds it equal to that of pyproject.toml.
_HARNESS = (0, 4, 13)


class OffTargetConfig(Section):
    """What the tested steering does on text and tasks that it was not made for: `off_target`."""

    in_report: bool = Field(
        True, description="Show it in the report, which makes it part of every run."
    )
    task_file: str | None = Field(
        None,
        min_length=1,
        description="JSONL of a second task, done with and without the tested steering: "
        "`question` and `answer` as the problems of a run (docs/tasks.md), or `question`, "
        "`choices` and `answer` (the index of the right choice), scored by likelihood.",
    )
    harness_tasks: list[str] = Field(
        [],
        description="Tasks, groups or tags of lm-evaluation-harness (`arc_easy`, `mmlu`), done "
        "with and without the tested steering; the package `lm_eval` must be installed.",
    )
    harness_limit: int | None = Field(
        None, ge=1, description="Documents of each of these tasks, the first ones; null for all."
    )
    harness_folder: str | None = Field(
        None, min_length=1, description="Folder with YAML files of your own such tasks."
    )

    @field_validator("task_file", "harness_folder")
    @classmethod
    def _path(cls, value: str | None, info: ValidationInfo) -> str | None:
        key = f"off_target.{info.field_name}"
        return value and check_braces(key, written_out(key, value))

    @field_validator("harness_tasks")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        check_once("off_target.harness_tasks", value)
        return value

    @model_validator(mode="after")
    def _of_tasks(self) -> "OffTargetConfig":
        for key in ("harness_limit", "harness_folder"):
            value = getattr(self, key)
            if value is not None and not self.harness_tasks:
                raise ValueError(
                    f"off_target.{key} is {value!r} and off_target.harness_tasks is []: it is for "
                    f"tasks of lm-evaluation-harness. Name some, or leave {key} out"
                )
        return self


def check_installed() -> None:
    """Look whether lm-evaluation-harness is here and new enough, without an import of it.

    Raises:
        UserError: It is not.
    """
    oldest = ".".join(map(str, _HARNESS))
    try:
        installed = version("lm_eval")
    except PackageNotFoundError:
        told = "which is not installed"
    else:
        if tuple(map(int, re.findall(r"\d+", installed)[:3])) >= _HARNESS:
            return
        told = f"of which version {installed} is installed, older than {oldest}"
    raise UserError(
        f"off_target.harness_tasks names tasks of lm-evaluation-harness, {told}",
        f"Install it (pip install 'lm_eval>={oldest}'), or leave the tasks out.",
    )
