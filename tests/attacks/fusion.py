"""Modules that `expect_fusion` must find wanting, and harmless neighbours: (name, forward, words, arguments)."""

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name


def mixed(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def written(q, k, v):
    return (q @ k.mT * 0.35).softmax(-1) @ v


def of_one_input(m, x):
    return mixed(m.linear(x), m.other(x), m.third(x))


def by_hand(m, x):
    return written(m.linear(x), m.other(x), m.third(x))


def twice(m, x):
    return of_one_input(m, of_one_input(m, x).tanh())


def of_packed(m, x):
    q, k, v = m.packed(x).chunk(3, -1)
    return mixed(q, k, v)


def in_heads(m, x):
    q, k, v = (layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (m.linear, m.other, m.third))
    return mixed(q, k, v).transpose(1, 2).flatten(2)


def normed_apart(m, x):
    return mixed(m.linear(m.norm(x)), m.other(x), m.third(x))


def key_of_another(m, x):
    return mixed(m.linear(x), m.other(x.roll(1, 1)), m.third(x))


def value_of_another(m, x):
    return mixed(m.linear(x), m.other(x), m.third(x * 2))


def query_of_another(m, x):
    return mixed(m.linear(x + 1), m.other(x), m.third(x))


def cross(m, x):
    return mixed(m.linear(x), m.other(x.flip(0)), m.third(x.flip(0)))


def cross_of_one(m, x):
    state = x.flip(0)
    return mixed(m.linear(x), m.other(state), m.third(state))


def no_projection(m, x):
    return mixed(x, x, x)


def value_unprojected(m, x):
    return mixed(m.linear(x), m.other(x), x)


def one_of_two_layers(m, x):
    return normed_apart(m, of_one_input(m, x))


def gated(m, x):
    return torch.sigmoid(m.linear(x)) @ m.other(x).mT @ m.third(x)


def relu_attention(m, x):
    return (m.linear(x) @ m.other(x).mT).relu() @ m.third(x)


def recomputed(m, x):
    return mixed(m.linear(m.norm(x)), m.other(m.norm(x) + 0.0), m.third(m.norm(x)))


def chain(m, x):
    return m.other(F.gelu(m.linear(m.norm(x))))


def forked(m, x):
    y = m.linear(m.norm(x))
    return m.other(F.gelu(y)) + y


def split_up(m, x):
    y = m.linear(m.norm(x))
    return m.other(0.5 * y * (1 + torch.erf(y * 0.7071067811865476)))


def nothing(m, x):
    return x


QKV = "qkv expected 1/1, found"
ALL = "all_three expected 1/1, found 0/1"
ONE, THREE = {"qkv": "1/1"}, {"all_three": "1/1"}
ROWS = [
    ("the key of another input", key_of_another, ALL, THREE),
    ("the value of another input", value_of_another, ALL, THREE),
    ("the query of another input", query_of_another, ALL, THREE),
    ("the query normed, the others not", normed_apart, ALL, THREE),
    ("cross attention where self attention was", cross, "(root): Q, K and V read three different inputs", THREE),
    ("cross attention of one state", cross_of_one, "(root): Q | K V read different inputs", THREE),
    ("three inputs", cross, f"{QKV} 0/1", ONE),
    ("no projections", no_projection, f"{QKV} 0/1", ONE),
    ("a value without projection", value_unprojected, f"{QKV} 0/1", ONE),
    ("one of two layers", one_of_two_layers, "all_three expected 2/2, found 1/2", {"all_three": "2/2"}),
    ("one of two layers, by share", one_of_two_layers, "all_three expected >50%, found 1/2", {"all_three": ">50%"}),
    ("a layer more", twice, "qkv expected 1/1, found 2/2", ONE),
    ("a layer less", of_one_input, "qkv expected 2/2, found 1/1", {"qkv": "2/2"}),
    ("a layer less, by number", of_one_input, "qkv expected >=2, found 1/1", {"qkv": ">=2"}),
    ("sigmoid gates", gated, f"{QKV} 0/0", ONE),
    ("relu for softmax", relu_attention, f"{QKV} 0/0", ONE),
    ("no attention, by share", chain, "qkv expected 100%, found 0/0", {"qkv": "100%"}),
    ("no attention, by all three", chain, "all_three expected >=1%, found 0/0", {"all_three": ">=1%"}),
    ("a norm for each projection", recomputed, f"{QKV} 0/1", ONE),
    ("a fork in the chain", forked, "subgraphs expected <=2, found 3", {"subgraphs": "<=2"}),
    ("GELU in parts", split_up, "subgraphs expected <=2, found 3", {"subgraphs": "<=2"}),
    ("GELU in parts, by size", split_up, "mean_size expected <2, found 2.667", {"mean_size": "<2"}),
    ("one subgraph too few", chain, "subgraphs expected >2, found 2", {"subgraphs": ">2"}),
    ("just too small", chain, "mean_size expected >2, found 2 ", {"mean_size": ">2"}),
    ("nothing computed, few subgraphs", nothing, "subgraphs expected <=5, found 0", {"subgraphs": "<=5"}),
    ("nothing computed, any size", nothing, "mean_size expected <=9, found 0", {"mean_size": "<=9"}),
    ("of one input", of_one_input, "", {**ONE, **THREE}),
    ("written out", by_hand, "", {**ONE, **THREE}),
    ("packed", of_packed, "", {**ONE, **THREE}),
    ("in heads", in_heads, "", {**ONE, **THREE}),
    ("key and value of one state", cross_of_one, "", ONE),
    ("two layers", twice, "", {"qkv": "2/2", "all_three": "100%"}),
    ("a chain that ends in a linear", chain, "", {"subgraphs": 2, "mean_size": 2}),
]
