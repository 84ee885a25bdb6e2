"""The chosen configuration in the formats of other tools.

A format either keeps what the configuration does, or refuses it with a reason; none writes a file
that would steer differently there. docs/exports.md says how each is used.
"""

# Names in the folder ``export``, by format.
FILES = {
    "canonical": ("steering_vector.safetensors", "steering_vector.json"),
    "control_vector": ("control_vector.gguf",),
    "lm_eval": ("lm_eval_steering.pt",),
    "easysteer": ("easysteer.json", "easysteer.gguf"),
}
