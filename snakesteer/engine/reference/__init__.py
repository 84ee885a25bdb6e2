"""The reference engine: HuggingFace generate with hooks, slow and obvious."""
