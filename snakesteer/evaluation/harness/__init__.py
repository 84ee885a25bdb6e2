"""Tasks of lm-evaluation-harness with and without the tested steering, whatever its method.

That tool (EleutherAI, https://github.com/EleutherAI/lm-evaluation-harness) brings tasks, prompts,
examples and metrics; likelihoods and answers come from our own engines.
"""
