"""The base of every declared thing: closed, frozen, strict about types."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Declared(BaseModel):
    """A mapping of the stack file. An unknown key is an error; a value is not coerced."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,  # what was found may be a secret in the wrong place
    )
