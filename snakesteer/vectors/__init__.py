"""How a steering vector is made: pairs, activations, probes, directions."""
