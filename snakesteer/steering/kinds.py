"""Steering of any kind. All kinds have ``alpha``, ``dac``, ``key``, ``off`` and ``with_vectors``.

Each says what it is (``kind``) and whose output it changes (``sites``), so that nobody has to know
their classes. A new kind is a class here, hooks in the engines (`snakesteer.engine.slots.parts` is
where to begin), and its own truth in `snakesteer.evaluation.checks.hook_effects`.
"""

from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import ResidualSteering

Steering = ResidualSteering | HeadSteering | PromptStartSteering
