"""The slots engine: a fixed number of slots decoded together, refilled from a queue."""
