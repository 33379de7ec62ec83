"""The library from the shell: one file per command, with its arguments and `run`, whose first line is its help.

A new command is a file here and a name in `COMMANDS`. What is heavy is imported by `run`.
"""

COMMANDS = (
    "init",
    "explain",
    "attribute",
    "optimize",
    "inspect",
    "diff",
    "hierarchy",
    "strip",
    "replay",
    "merge",
    "compare",
    "history",
    "fusion",
    "runtimes",
)
