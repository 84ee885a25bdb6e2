"""What is written down: files, logs, tensors, hashes, and where a result comes from."""
