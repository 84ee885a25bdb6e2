"""Answers, how they are graded, and what may be said of them."""
