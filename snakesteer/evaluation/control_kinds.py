"""Kinds of controls, and what those are called of which there are several."""

from typing import Literal

ControlKind = Literal["steered", "random", "shuffled", "negative", "prompt"]

# Kinds of which there are several controls, drawn at random, and what they are called.
FAMILIES: dict[ControlKind, str] = {
    "random": "random directions",
    "shuffled": "vectors of shuffled labels",
}
