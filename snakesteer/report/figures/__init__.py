"""The figures, one theme a module."""
