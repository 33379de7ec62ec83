# ruff: noqa: E501 - the rows are a table
"""The list of changes: what a refactoring, a library's release or a tool does to a model, and what must be said of it."""

from __future__ import annotations

from dataclasses import replace

from tests.regressions import files
from tests.regressions.running import Row
from tests.regressions.words import WORDS

BOTH = ("torchscript", "dynamo")
WEIGHTS = ("weights",)


def change(model, name, *edits, **options):
    """A change of the model's code."""
    pairs = tuple(zip(edits[::2], edits[1::2], strict=True))
    return Row(model=model, name=name, edits=pairs, **options)


def harmless(model, name, *edits, **options):
    """A change that must stay green."""
    return change(model, name, *edits, verdict="harmless", **options)


def graph(model, name, *edits, **options):
    """A change that computes the same by other operators."""
    return change(model, name, *edits, verdict="graph", **options)


def trained(model):
    """After ``model = X()``: another checkpoint."""
    old = "    return model\n"
    lines = "    for p in model.parameters():\n        p.data.add_(0.1 * torch.randn(p.shape))\n    return model\n"
    return old, lines


def set_up(line):
    """Something done to the built model."""
    return "    return model\n", f"    {line}\n    return model\n"


RETURN = 'return {"hidden": x, "pooled": pooled}'
EPS = "self.norm = nn.LayerNorm(WIDTH, eps=1e-12)"
LOOP = "for layer in self.layers:"
MASKED = "scores = scores + mask\n        weights"
RESIZE = 'scale_factor=2.0, mode="bilinear", align_corners=False'

ENCODER = (
    change("encoder", "mask ignored", MASKED, "weights", exporters=BOTH),
    change("encoder", "mask of -10000", "* torch.finfo(x.dtype).min", "* -10000.0", exporters=BOTH),
    change("encoder", "mask inverted", "(1.0 - attention_mask[:, None, None, :].to(x.dtype))",
           "attention_mask[:, None, None, :].to(x.dtype)"),
    change("encoder", "one epsilon 1e-5", EPS, EPS.replace("1e-12", "1e-5"), exporters=BOTH),
    change("encoder", "softmax over the queries", "scores.softmax(-1)", "scores.softmax(-2)", exporters=BOTH),
    change("encoder", "one bias removed", *set_up("model.layers[1].down.bias = None")),
    change("encoder", "layer skipped", LOOP, "for layer in self.layers[:1]:", exporters=BOTH),
    change("encoder", "layers swapped", LOOP, "for layer in (self.layers[1], self.layers[0]):", exporters=BOTH),
    change("encoder", "half precision in between", "F.gelu(self.up(x))", "F.gelu(self.up(x)).half().float()", exporters=BOTH),
    change("encoder", "gelu by tanh", "F.gelu(self.up(x))", 'F.gelu(self.up(x), approximate="tanh")', exporters=BOTH),
    change("encoder", "gelu became silu", "F.gelu(self.up(x))", "F.silu(self.up(x))"),
    change("encoder", "scale dropped", " / math.sqrt(HEAD)", ""),
    change("encoder", "scale of another width", "math.sqrt(HEAD)", "math.sqrt(WIDTH)"),
    change("encoder", "pooler reads the last token", "x[:, 0]", "x[:, -1]"),
    change("encoder", "pooler reads the mean", "x[:, 0]", "x.mean(1)"),
    change("encoder", "tanh of the pooler lost", "torch.tanh(self.pooler(x[:, 0]))", "self.pooler(x[:, 0])"),
    change("encoder", "positions begin at 1", "torch.arange(input_ids.shape[1], device=input_ids.device)",
           "torch.arange(input_ids.shape[1], device=input_ids.device) + 1"),
    change("encoder", "positions lost", " + self.positions(positions)", " + 0.0 * self.positions(positions)"),
    change("encoder", "query and key exchanged", "scores = q @ k.transpose", "scores = k @ q.transpose"),
    change("encoder", "value read by the key", "v = self.value(x)", "v = self.key(x)"),
    change("encoder", "heads not transposed", "(weights @ v).transpose(1, 2)", "(weights @ v)"),
    change("encoder", "residual lost", "self.norm1(x + self.drop(self.attention(x, mask)))",
           "self.norm1(self.drop(self.attention(x, mask)))"),
    change("encoder", "residual doubled", "self.norm2(x + self.drop(", "self.norm2(2 * x + self.drop("),
    change("encoder", "pre-norm", "x + self.drop(self.attention(x, mask))", "x + self.drop(self.attention(self.norm1(x), mask))"),
    change("encoder", "dropout left on", "self.drop(self.attention(x, mask))", "F.dropout(self.attention(x, mask), 0.1)"),
    change("encoder", "output renamed", RETURN, RETURN.replace('"pooled"', '"pooler_output"'),
           options={"output_names": None}),
    change("encoder", "outputs in another order", options={"output_names": ("pooled", "hidden")}),
    change("encoder", "outputs mislabelled", RETURN, "return pooled, x"),
    change("encoder", "output dropped", options={"output_names": ("hidden",)}),
    change("encoder", "output added", RETURN, 'return {"hidden": x, "pooled": pooled, "extra": x[:, 1]}',
           options={"output_names": ("hidden", "pooled", "extra")}),
    change("encoder", "output cast to half", RETURN, 'return {"hidden": x.half(), "pooled": pooled}'),
    change("encoder", "output loses its batch", RETURN, 'return {"hidden": x, "pooled": pooled[0]}'),
    change("encoder", "int32 ids", "(2, 10), generator=generator)", "(2, 10), generator=generator).int()"),
    change("encoder", "float mask", "torch.ones(2, 10, dtype=torch.long)", "torch.ones(2, 10)"),
    change("encoder", "bool mask", "torch.ones(2, 10, dtype=torch.long)", "torch.ones(2, 10, dtype=torch.bool)"),
    change("encoder", "dynamic batch lost", "AXES = {0: \"batch\", 1: \"sequence\"}", 'AXES = {1: "sequence"}'),
    change("encoder", "nothing dynamic", options={"dynamic_axes": None}),
    change("encoder", "axis renamed", '1: "sequence"', '1: "tokens"'),
    change("encoder", "batch baked into the graph", RETURN, 'return {"hidden": x[torch.arange(2)], "pooled": pooled}'),
    change("encoder", "input no longer read", "attention_mask[:, None, None, :].to(x.dtype)",
           "torch.ones_like(input_ids)[:, None, None, :].to(x.dtype)"),
    change("encoder", "input renamed", "def forward(self, input_ids, attention_mask):\n        positions",
           "def forward(self, ids, attention_mask):\n        input_ids = ids\n        positions",
           '{"input_ids": torch.randint', '{"ids": torch.randint',
           '{"input_ids": AXES', '{"ids": AXES'),
    harmless("encoder", "forward takes its inputs in another order", "def forward(self, input_ids, attention_mask):\n        positions",
           "def forward(self, attention_mask, input_ids):\n        positions"),
    change("encoder", "opset raised", options={"opset": 18}),
    change("encoder", "constants not folded", options={"export_options": {"do_constant_folding": False}}),
    change("encoder", "wider inner layer", "INNER = 120, 32, 2, 4, 64", "INNER = 120, 32, 2, 4, 48"),
    change("encoder", "other number of heads", "INNER = 120, 32, 2, 4, 64", "INNER = 120, 32, 2, 8, 64"),
    change("encoder", "three layers", "INNER = 120, 32, 2, 4, 64", "INNER = 120, 32, 3, 4, 64"),
    change("encoder", "embedding scaled", "self.norm(self.words(input_ids)", "self.norm(WIDTH**0.5 * self.words(input_ids)"),
    change("encoder", "double in between", "scores = scores + mask", "scores = (scores.double() + mask).float()"),
    change("encoder", "square weight transposed", *set_up(
        "model.layers[0].attention.query.weight.data = model.layers[0].attention.query.weight.data.T.contiguous()"), kinds=WEIGHTS),
    change("encoder", "weights rounded to half", *set_up("model = model.half().float()"), kinds=WEIGHTS),
    change("encoder", "bias zeroed", *set_up("model.layers[1].down.bias.data.zero_()"), kinds=WEIGHTS),
    change("encoder", "query and value exchanged", *set_up(
        "a = model.layers[0].attention; a.query, a.value = a.value, a.query"), kinds=WEIGHTS),
    harmless("encoder", "another checkpoint", *trained("Encoder")),
    harmless("encoder", "dropout of another rate", "nn.Dropout(0.1)", "nn.Dropout(0.3)"),
    harmless("encoder", "a local variable renamed", "        pooled = torch.tanh(self.pooler(x[:, 0]))\n        " + RETURN,
             '        first = torch.tanh(self.pooler(x[:, 0]))\n        return {"hidden": x, "pooled": first}'),
    harmless("encoder", "registered in another order", "self.query, self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)",
             "self.value, self.key, self.query = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)"),
    harmless("encoder", "bias of another value", *set_up("model.pooler.bias.data.fill_(0.3)")),
    harmless("encoder", "inputs need a gradient nowhere", *set_up("model.requires_grad_(False)")),
    harmless("encoder", "an unused module", *set_up("model.left_over = nn.Linear(2, 2)")),
    harmless("encoder", "a docstring", "class Encoder(nn.Module):\n", 'class Encoder(nn.Module):\n    """A text encoder."""\n\n'),
    graph("encoder", "scaled by multiplication", " / math.sqrt(HEAD)", " * HEAD**-0.5"),
    graph("encoder", "gelu by hand", "F.gelu(self.up(x))", "(lambda u: 0.5 * u * (1 + torch.erf(u / math.sqrt(2))))(self.up(x))"),
    graph("encoder", "fused attention", "        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD)\n        scores = scores + mask\n        weights = scores.softmax(-1)\n        return self.out((weights @ v)",
          "        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask)"),
    graph("encoder", "an identity more", "self.drop = nn.Dropout(0.1)", "self.drop = nn.Sequential(nn.Dropout(0.1), nn.Identity())"),
    graph("encoder", "attention renamed", "self.attention = Attention()", "self.self_attn = Attention()",
          "self.attention(x, mask)", "self.self_attn(x, mask)"),
)  # fmt: skip

RESNET = (
    change("resnet", "batch norm epsilon", "self.norm = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16)",
           "self.norm = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16, eps=1e-3)", exporters=BOTH),
    change("resnet", "stride 1", "nn.Conv2d(3, 16, 3, stride=2", "nn.Conv2d(3, 16, 3, stride=1"),
    change("resnet", "padding lost", "nn.Conv2d(3, 16, 3, stride=2, padding=1", "nn.Conv2d(3, 16, 3, stride=2, padding=0"),
    change("resnet", "padding of another mode", "nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)",
           'nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False, padding_mode="reflect")'),
    change("resnet", "groups", "nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)\n", "nn.Conv2d(c, c, 3, padding=1, bias=False, groups=2), nn.BatchNorm2d(c)\n"),
    change("resnet", "dilation", "nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)\n", "nn.Conv2d(c, c, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(c)\n", exporters=BOTH),
    change("resnet", "relu became relu6", "h = torch.relu(self.bn1(self.conv1(x)))", "h = F.relu6(self.bn1(self.conv1(x)))"),
    change("resnet", "relu lost", "h = torch.relu(self.bn1(self.conv1(x)))", "h = self.bn1(self.conv1(x))"),
    change("resnet", "residual lost", "torch.relu(x + self.bn2(self.conv2(h)))", "torch.relu(self.bn2(self.conv2(h)))"),
    change("resnet", "max pool became average pool", "nn.MaxPool2d(3, 2, 1)", "nn.AvgPool2d(3, 2, 1)", exporters=BOTH),
    change("resnet", "pool of another size", "nn.MaxPool2d(3, 2, 1)", "nn.MaxPool2d(5, 2, 2)"),
    change("resnet", "pool rounds up", "nn.MaxPool2d(3, 2, 1)", "nn.MaxPool2d(3, 2, 1, ceil_mode=True)"),
    change("resnet", "bicubic", RESIZE, RESIZE.replace("bilinear", "bicubic"), exporters=BOTH),
    change("resnet", "nearest", RESIZE, 'scale_factor=2.0, mode="nearest"', exporters=BOTH),
    change("resnet", "corners aligned", RESIZE, RESIZE.replace("False", "True"), exporters=BOTH),
    change("resnet", "scale 1.9", RESIZE, RESIZE.replace("2.0", "1.9")),
    change("resnet", "mean over one axis", "x.mean((2, 3))", "x.mean(2).amax(2)"),
    change("resnet", "ImageNet constants of another library", "(image - 0.45) / 0.225", "(image - 0.5) / 0.5", exporters=BOTH),
    change("resnet", "preprocessing lost", "        image = (image - 0.45) / 0.225\n", ""),
    change("resnet", "channels flipped", "image = (image - 0.45)", "image = (image.flip(1) - 0.45)"),
    change("resnet", "other resolution", "torch.randn(2, 3, 32, 32", "torch.randn(2, 3, 64, 64", exporters=BOTH),
    change("resnet", "batch norm left in training", *set_up("model.norm.eval = lambda: model.norm; model.norm.train = lambda mode=True: model.norm")),
    change("resnet", "block skipped", "for block in self.blocks:", "for block in self.blocks[1:]:"),
    change("resnet", "outputs exchanged under their names", 'return {"logits": self.head(self.drop(x.mean((2, 3)))), "mask": up}',
           "return up, self.head(self.drop(x.mean((2, 3))))"),
    change("resnet", "softmax added", '"logits": self.head(self.drop(x.mean((2, 3))))', '"logits": self.head(self.drop(x.mean((2, 3)))).softmax(-1)'),
    change("resnet", "batch axis lost", options={"dynamic_axes": None}),
    change("resnet", "height dynamic now", options={"dynamic_axes": {"image": {0: "batch", 2: "height"}}}),
    change("resnet", "running statistics reset", *set_up("model.norm.running_mean.fill_(0.5)"), kinds=WEIGHTS),
    change("resnet", "half precision model", *set_up("model = model.half()"),
           "torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))",
           "torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed)).half()"),
    harmless("resnet", "another checkpoint", *trained("Resnet")),
    harmless("resnet", "batch norm momentum", "momentum=0.1", "momentum=0.3"),
    harmless("resnet", "channels last", *set_up("model = model.to(memory_format=torch.channels_last)")),
    harmless("resnet", "dropout of another rate", "nn.Dropout(0.2)", "nn.Dropout(0.5)"),
    harmless("resnet", "built in training mode", *set_up("model.train()")),
    harmless("resnet", "running statistics of a trained model", *set_up("model.norm.running_mean.normal_(); model.norm.running_var.uniform_(0.5, 2)")),
    graph("resnet", "relu as a module", "h = torch.relu(self.bn1(self.conv1(x)))", "h = nn.ReLU()(self.bn1(self.conv1(x)))"),
    graph("resnet", "adaptive pooling", "x.mean((2, 3))", "F.adaptive_avg_pool2d(x, 1).flatten(1)"),
)  # fmt: skip

DECODER = (
    change("decoder", "rms epsilon", "+ 1e-6)", "+ 1e-5)"),
    change("decoder", "rope theta", "10000.0 **", "500000.0 **"),
    change("decoder", "rope halves exchanged", "torch.cat((-b, a), -1)", "torch.cat((b, -a), -1)"),
    change("decoder", "interleaved rope", "a, b = x.chunk(2, -1)", "a, b = x[..., ::2], x[..., 1::2]"),
    change("decoder", "positions without the past", "device=input_ids.device) + p", "device=input_ids.device)"),
    change("decoder", "causal mask off by one", "diagonal=1 + p", "diagonal=p"),
    change("decoder", "causal mask lost", "/ math.sqrt(HEAD) + mask", "/ math.sqrt(HEAD)"),
    change("decoder", "causal mask of -1e4", 'float("-inf")', "-1e4"),
    change("decoder", "keys and values exchanged in the cache", "torch.stack((k, v))", "torch.stack((v, k))"),
    change("decoder", "cache without the past", "return x + self.down(F.silu(self.gate(h)) * self.up(h)), k, v",
           "return x + self.down(F.silu(self.gate(h)) * self.up(h)), k[:, :, -s:], v[:, :, -s:]"),
    change("decoder", "past behind the new keys", "torch.cat((past_k, k), 2)", "torch.cat((k, past_k), 2)"),
    change("decoder", "groups in another order", "kk = k.repeat_interleave(HEADS // GROUPS, dim=1)", "kk = k.repeat(1, HEADS // GROUPS, 1, 1)"),
    change("decoder", "silu became gelu", "F.silu(self.gate(h))", "F.gelu(self.gate(h))"),
    change("decoder", "gate and up exchanged", "F.silu(self.gate(h)) * self.up(h)", "self.gate(h) * F.silu(self.up(h))"),
    change("decoder", "second norm skipped", "h = self.n2(x)", "h = x"),
    change("decoder", "last norm skipped", "self.head(self.norm(x))", "self.head(x)"),
    change("decoder", "head untied", "        self.head.weight = self.words.weight\n", ""),
    change("decoder", "head untied, equal values", *set_up("model.head.weight = nn.Parameter(model.words.weight.detach().clone())")),
    change("decoder", "logits of the last token", "self.head(self.norm(x))", "self.head(self.norm(x))[:, -1:]"),
    change("decoder", "soft cap on the logits", "self.head(self.norm(x))", "30 * torch.tanh(self.head(self.norm(x)) / 30)"),
    change("decoder", "scale of another head size", "/ math.sqrt(HEAD)", "/ math.sqrt(2 * HEAD)"),
    change("decoder", "key without rope", "k * cos + rotate(k) * sin", "k"),
    change("decoder", "mean of squares without the mean", "x.pow(2).mean(-1, keepdim=True)", "x.pow(2).sum(-1, keepdim=True)"),
    change("decoder", "past of fixed length", options={"dynamic_axes": {"input_ids": {0: "batch", 1: "sequence"}, "past": {2: "batch"}}}),
    change("decoder", "cache renamed", '"present": torch.stack', '"past_key_values": torch.stack', options={"output_names": None}),
    change("decoder", "layers in another order", "enumerate(self.layers)", "enumerate(reversed(self.layers))"),
    harmless("decoder", "another checkpoint", *trained("Decoder")),
    harmless("decoder", "a local variable renamed", "        for i, layer in enumerate(self.layers):\n            x, k, v = layer(x, cos, sin, mask, past[i, 0], past[i, 1])",
             "        for index, layer in enumerate(self.layers):\n            x, k, v = layer(x, cos, sin, mask, past[index, 0], past[index, 1])"),
    harmless("decoder", "ids drawn from fewer words", "self.words = nn.Embedding(VOCABULARY, WIDTH)", "self.words = nn.Embedding(VOCABULARY, WIDTH, sparse=True)"),
    graph("decoder", "expand instead of repeat", "vv = v.repeat_interleave(HEADS // GROUPS, dim=1)",
          "vv = v[:, :, None].expand(-1, -1, HEADS // GROUPS, -1, -1).flatten(1, 2)"),
    graph("decoder", "square root and division", "x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)", "x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)"),
)  # fmt: skip

SEGMENTER = (
    change("segmenter", "number of groups", "nn.GroupNorm(4, d", "nn.GroupNorm(2, d", exporters=BOTH),
    change("segmenter", "group norm epsilon", "eps=1e-5", "eps=1e-3"),
    change("segmenter", "slope", "nn.LeakyReLU(0.1)", "nn.LeakyReLU(0.01)", exporters=BOTH),
    change("segmenter", "dilation", "padding=2, dilation=2", "padding=1, dilation=1"),
    change("segmenter", "convolution groups", "groups=4", "groups=2"),
    change("segmenter", "padding counted", "count_include_pad=False", "count_include_pad=True", exporters=BOTH),
    change("segmenter", "hardswish became silu", "F.hardswish", "F.silu"),
    change("segmenter", "skip connection lost", "torch.cat((a, self.up(b)), 1)", "torch.cat((self.up(b), self.up(b)), 1)"),
    change("segmenter", "skip connection in another order", "torch.cat((a, self.up(b)), 1)", "torch.cat((self.up(b), a), 1)"),
    change("segmenter", "bilinear", 'mode="nearest"', 'mode="bilinear"', exporters=BOTH),
    change("segmenter", "scale", "scale_factor=2.0", "scale_factor=4.0"),
    change("segmenter", "clip bound", "clamp(0.01, 0.99)", "clamp(0.02, 0.99)", exporters=BOTH),
    change("segmenter", "clip lost", "scores.clamp(0.01, 0.99)", "scores"),
    change("segmenter", "threshold", "scores > 0.5", "scores > 0.4", exporters=BOTH),
    change("segmenter", "threshold inclusive", "scores > 0.5", "scores >= 0.5"),
    change("segmenter", "sigmoid became softmax", "torch.sigmoid(x)", "torch.softmax(x, 1)"),
    change("segmenter", "mask as float", '"mask": scores > 0.5', '"mask": (scores > 0.5).float()'),
    change("segmenter", "stride of the transposed convolution", "nn.ConvTranspose2d(16, 8, 2, stride=2)", "nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)"),
    harmless("segmenter", "another checkpoint", *trained("Unet"), exporters=BOTH),
    harmless("segmenter", "built in training mode", *set_up("model.train()")),
    harmless("segmenter", "in place", "nn.LeakyReLU(0.1)", "nn.LeakyReLU(0.1, inplace=True)"),
    graph("segmenter", "clip by minimum and maximum", "scores.clamp(0.01, 0.99)", "torch.minimum(torch.maximum(scores, torch.tensor(0.01)), torch.tensor(0.99))"),
)  # fmt: skip

TAGGER = (
    change("tagger", "one layer", "num_layers=2", "num_layers=1"),
    change("tagger", "bidirectional", "num_layers=2, batch_first=True)", "num_layers=2, batch_first=True, bidirectional=True)",
           "nn.LayerNorm(8)", "nn.LayerNorm(16)", "nn.Linear(8, 5)", "nn.Linear(16, 5)"),
    change("tagger", "lstm became gru", "nn.LSTM(", "nn.GRU(", "x, (hidden, cell) =", "x, hidden ="),
    change("tagger", "batch not first", "batch_first=True", "batch_first=False"),
    change("tagger", "cell instead of hidden state", '"state": hidden', '"state": cell'),
    change("tagger", "softmax axis", "log_softmax(-1)", "log_softmax(1)"),
    change("tagger", "softmax without the logarithm", "log_softmax(-1)", "softmax(-1)"),
    change("tagger", "argmin", "argmax(-1)", "argmin(-1)"),
    change("tagger", "argmax over the tokens", "argmax(-1)", "argmax(1)"),
    change("tagger", "tags as int32", "argmax(-1)", "argmax(-1).int()"),
    change("tagger", "norm lost", "self.head(self.norm(torch.tanh(x)))", "self.head(torch.tanh(x))"),
    change("tagger", "norm epsilon", "nn.LayerNorm(8)", "nn.LayerNorm(8, eps=1e-2)"),
    change("tagger", "tanh lost", "self.norm(torch.tanh(x))", "self.norm(x)"),
    harmless("tagger", "another checkpoint", *trained("Tagger")),
    harmless("tagger", "forget bias set by the initializer", *set_up("model.lstm.bias_hh_l0.data.fill_(1.0)")),
    harmless("tagger", "dropout between the layers", "num_layers=2, batch_first=True", "num_layers=2, batch_first=True, dropout=0.2"),
)  # fmt: skip

DETECTOR = (
    change("detector", "top 5", "topk(10)", "topk(5)"),
    change("detector", "top k from below", "topk(10)", "topk(10, largest=False)"),
    change("detector", "stride of the boxes", "self.grid) * 4.0", "self.grid) * 8.0"),
    change("detector", "half a cell", "+ 0.5)", "+ 0.0)"),
    change("detector", "grid transposed", "torch.stack((xs, ys), -1)", "torch.stack((ys, xs), -1)"),
    change("detector", "clamp of the size", "clamp(max=4.0)", "clamp(max=2.0)"),
    change("detector", "size not halved", "centre - size / 2", "centre - size"),
    change("detector", "boxes as centre and size", "torch.cat((centre - size / 2, centre + size / 2), -1)", "torch.cat((centre, size), -1)"),
    change("detector", "scores not squashed", ".sigmoid().amax(-1)", ".amax(-1)"),
    change("detector", "mean of the classes", "amax(-1)", "mean(-1)"),
    change("detector", "input not divided by 255", "image / 255.0", "image"),
    change("detector", "batch norm epsilon of the framework", "self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8, eps=1e-3)",
           "self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)"),
    change("detector", "silu became relu", "self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8, eps=1e-3), nn.SiLU())",
           "self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8, eps=1e-3), nn.ReLU())"),
    change("detector", "all boxes returned", '"boxes": boxes.gather(1, index[..., None].expand(-1, -1, 4))', '"boxes": boxes'),
    change("detector", "uint8 image", "255 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))",
           "(255 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))).to(torch.uint8)"),
    harmless("detector", "another checkpoint", *trained("Detector")),
    harmless("detector", "gradients off", *set_up("model.requires_grad_(False)")),
    harmless("detector", "momentum of every norm", *set_up("model.stem[1].momentum = 0.03")),
)  # fmt: skip

VIT = (
    change("vit", "epsilon of every norm", *set_up("[setattr(m, 'eps', 1e-5) for m in model.modules() if isinstance(m, nn.LayerNorm)]")),
    change("vit", "mean of another data set", "[0.485, 0.456, 0.406]", "[0.5, 0.5, 0.5]"),
    change("vit", "deviation of another data set", "[0.229, 0.224, 0.225]", "[0.5, 0.5, 0.5]"),
    change("vit", "not normalised", "(image - self.mean) / self.std", "image"),
    change("vit", "class token last", "torch.cat((self.cls.expand(2, -1, -1), x), 1)", "torch.cat((x, self.cls.expand(2, -1, -1)), 1)"),
    change("vit", "logits from the mean", "self.head(x[:, 0])", "self.head(x.mean(1))"),
    change("vit", "class token in the mean", "F.normalize(x.mean(1), dim=-1)", "F.normalize(x[:, 1:].mean(1), dim=-1)"),
    change("vit", "embedding not normalised", "F.normalize(x.mean(1), dim=-1)", "x.mean(1)"),
    change("vit", "embedding by another norm", "F.normalize(x.mean(1), dim=-1)", "F.normalize(x.mean(1), p=1, dim=-1)"),
    change("vit", "qkv in another order", "q, k, v = self.qkv", "k, q, v = self.qkv"),
    change("vit", "attention scale", "F.scaled_dot_product_attention(q, k, v)", "F.scaled_dot_product_attention(q, k, v, scale=0.5)"),
    change("vit", "attention causal", "F.scaled_dot_product_attention(q, k, v)", "F.scaled_dot_product_attention(q, k, v, is_causal=True)"),
    change("vit", "positions lost", "x), 1) + self.positions", "x), 1) + 0 * self.positions"),
    change("vit", "gelu by tanh", "nn.GELU()", 'nn.GELU("tanh")'),
    change("vit", "last norm skipped", "        x = self.norm(x)\n", ""),
    change("vit", "attention dropout left on", "F.scaled_dot_product_attention(q, k, v)", "F.scaled_dot_product_attention(q, k, v, dropout_p=0.1)"),
    harmless("vit", "another checkpoint", *trained("Vit")),
    harmless("vit", "weights frozen", *set_up("model.patches.requires_grad_(False)")),
    harmless("vit", "built under another seed", "    model = Vit()\n", "    torch.manual_seed(5)\n    model = Vit()\n"),
    graph("vit", "attention written out", "y = F.scaled_dot_product_attention(q, k, v)", "y = (q @ k.transpose(-1, -2) / 6**0.5).softmax(-1) @ v"),
)  # fmt: skip

FILES = files.rows(Row)

CHANGES: tuple[Row, ...] = tuple(
    replace(row, words=row.words or WORDS.get(str(row), ()))
    for row in (*ENCODER, *RESNET, *DECODER, *SEGMENTER, *TAGGER, *DETECTOR, *VIT, *FILES)
)
