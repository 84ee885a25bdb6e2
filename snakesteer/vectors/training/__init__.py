"""Trained steering vectors: the weights stay as they are, vectors of one or more blocks learn."""
