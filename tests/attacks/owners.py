"""Nodes that lose their owner, and modules that own none: (name, edit of the file or forward, words, arguments).

An edit renames the nodes of `files.Net`'s export. Harmless neighbours have no words.
"""

import torch


def named(change):
    """An edit that gives each node the name ``change(name, number, operator)``, and other names to all values."""

    def edit(graph):
        for number, node in enumerate(graph.node):
            node.name = change(node.name, number, node.op_type)
        kept = {port.name for port in (*graph.input, *graph.output)}
        values = {name: f"v{number}" for number, node in enumerate(graph.node) for name in node.output}
        values |= {weight.name: f"w{number}" for number, weight in enumerate(graph.initializer)}
        values |= {name: name for name in kept}
        for weight in graph.initializer:
            weight.name = values[weight.name]
        for node in graph.node:
            node.input[:] = [values.get(name, name) for name in node.input]
            node.output[:] = [values[name] for name in node.output]

    return edit


def times_zero_of_it(m, x):
    return m.linear(x) + torch.zeros_like(m.other(x))


def two_times_zero(m, x):
    return m.linear(x) + torch.zeros_like(m.other(x)) + torch.zeros_like(m.third(x))


def nothing(m, x):
    return x


NONE = "coverage expected 100%, found 0.0% of 6 compute nodes"
ONE = "coverage expected 100%, found 83.3% of 6 compute nodes (direct 5, inherited 0, root 0, none 1)"
PRECISE = {"coverage": "100%", "strategy": "precise"}
OPTIMIZED = {**PRECISE, "stage": "optimized"}
FILES = [
    ("no names", named(lambda name, number, op: ""), NONE, PRECISE),
    ("no names, after the pipeline", named(lambda name, number, op: ""), NONE, OPTIMIZED),
    ("numbers", named(lambda name, number, op: f"node_{number}"), NONE, PRECISE),
    ("operators", named(lambda name, number, op: f"{op}_{number}"), NONE, PRECISE),
    ("numbers, after the pipeline", named(lambda name, number, op: f"node_{number}"), NONE, OPTIMIZED),
    ("one without a name", named(lambda name, number, op: name * (number > 0)), ONE, PRECISE),
    ("one without a name, of 83.4 %", named(lambda name, number, op: name * (number > 0)), "found 83.3%",
     {"coverage": ">=83.4%", "strategy": "precise"}),
    ("modules that are not there", named(lambda name, number, op: f"/acme{name}"), NONE, PRECISE),
    ("one module that is not there", named(lambda name, number, op: name.replace("first", "gone")), ONE, PRECISE),
    ("one module too deep", named(lambda name, number, op: name.replace("last", "last/inner")), "expected 100%",
     PRECISE),
    ("all of the root", named(lambda name, number, op: f"/{op}_{number}"), "modules expected 100%, found 25.0% of 4",
     {"modules": "100%"}),
    ("all of the root, half expected", named(lambda name, number, op: f"/{op}_{number}"), "first: ran, and owns no",
     {"modules": ">=50%"}),
    ("all of one module", named(lambda name, number, op: f"/first/{op}_{number}"), "last: ran, and owns no node",
     {"modules": ">50%"}),
    ("more than expected", named(lambda name, number, op: name), "coverage expected <100%, found 100.0%",
     {"coverage": "<100%"}),
    ("more modules than expected", named(lambda name, number, op: name), "modules expected <=75%, found 100.0%",
     {"modules": "<=75%"}),
    ("as exported", named(lambda name, number, op: name), "", {**PRECISE, "modules": "100%"}),
    ("no names, deduced from the module", named(lambda name, number, op: ""), "", {"coverage": "100%"}),
    ("five of six", named(lambda name, number, op: name * (number > 0)), "",
     {"coverage": ">=83.3%", "strategy": "precise"}),
]  # fmt: skip
MODULES = [
    ("one that is multiplied by zero", times_zero_of_it, "other: ran, and owns no node", {"modules": "100%"}),
    ("one, after the pipeline", times_zero_of_it, "found 66.7% of 3", {"modules": "100%", "stage": "optimized"}),
    ("two of four", two_times_zero, "modules expected >50%, found 50.0% of 4", {"modules": ">50%"}),
    ("no module", nothing, "found no torch module that ran", {"modules": ">=1%"}),
    ("no node of a module", nothing, "coverage expected >=1%, found 0.0% of 1", {"coverage": ">=1%"}),
    ("two of three", times_zero_of_it, "", {"modules": ">=66%"}),
]
