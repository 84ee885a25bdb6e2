"""Many runs in one graph, and what they say together."""
