"""Models: loading, the embedded default, and where the residual stream can be reached."""
