"""Experiments over the zoo: one command each, writing Markdown to `.modelcheck/experiments/` or to the docs.

``python -m examples.experiments.measure`` measures models, and reuses what it measured before as long as the export and
the code of the passes are the same; the other commands draw their tables from its rows, or measure what only they need.
"""
