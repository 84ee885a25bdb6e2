"""What all sections of the config have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of keys: unknown keys are refused, values cannot change after validation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )
