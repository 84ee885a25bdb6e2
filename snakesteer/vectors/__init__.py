"""How a vector is made: pairs, activations, probes, directions; vectors of heads and prompts."""
