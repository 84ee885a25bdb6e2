"""What steering breaks elsewhere."""

from pydantic import Field, field_validator

from snakesteer.config.section import Section, check_braces, written_out


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

    @field_validator("task_file")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        key = "off_target.task_file"
        return value and check_braces(key, written_out(key, value))
