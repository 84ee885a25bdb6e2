"""vLLM as an engine: its own batches, in which every request is steered by itself."""
