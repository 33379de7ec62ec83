"""Small decoders whose export may differ from them in one way."""

import torch


class Decoder(torch.nn.Module):
    """One attention layer with a cache; `fault` is made in the export alone."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.words, self.head = torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50)
        self.places = torch.nn.Embedding(64, 16)
        self.q, self.k, self.v = (torch.nn.Linear(16, 16) for _ in range(3))

    def forward(self, input_ids, attention_mask, position_ids, past_key, past_value):
        exporting = torch.jit.is_tracing()
        x = self.words(input_ids) + self.places(position_ids)
        key = torch.cat([past_key, _heads(self.k(x))], 2)
        value = torch.cat([past_value, _heads(self.v(x))], 2)
        queries = torch.arange(x.shape[1])[:, None] + past_key.shape[2]
        seen = (torch.arange(key.shape[2])[None, :] <= queries) & attention_mask[:, None, None, :].bool()
        if self.fault == "blind":
            key, value = key * 0, value * 0
        y = torch.nn.functional.scaled_dot_product_attention(_heads(self.q(x)), key, value, attn_mask=seen)
        present = value.flip(2) if exporting and self.fault == "cache" else value
        logits = self.head(x + 4 * y.transpose(1, 2).flatten(2))
        if exporting and self.fault == "logits":
            logits = logits.flip(-1)
        return {"logits": logits, "present_key": key, "present_value": present}


def _heads(x):
    return x.unflatten(-1, (2, 8)).transpose(1, 2)


def inputs(seed, past=3, sequence=2):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(2, past + sequence, dtype=torch.long)
    mask[1, :2] = 0
    return {
        "input_ids": torch.randint(0, 50, (2, sequence), generator=generator),
        "attention_mask": mask,
        "position_ids": torch.arange(past, past + sequence).repeat(2, 1),
        "past_key": torch.randn(2, 2, past, 8, generator=generator),
        "past_value": torch.randn(2, 2, past, 8, generator=generator),
    }


SEQUENCE, CACHE = {0: "batch", 1: "sequence"}, {0: "batch", 2: "past"}
AXES = {
    "input_ids": SEQUENCE,
    "attention_mask": {0: "batch", 1: "past + sequence"},
    "position_ids": SEQUENCE,
    "past_key": CACHE,
    "past_value": CACHE,
}


class Plain(torch.nn.Module):
    """Every token is read again at each step."""

    def __init__(self):
        super().__init__()
        self.words, self.head = torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50)

    def forward(self, input_ids):
        x = self.words(input_ids)
        return {"logits": self.head(x.cumsum(1))}


class WithCacheObject(torch.nn.Module):
    """Takes and returns a cache of transformers, and writes into it."""

    def __init__(self):
        super().__init__()
        self.words, self.head = torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50)
        self.q, self.k, self.v = (torch.nn.Linear(16, 16) for _ in range(3))

    def forward(self, input_ids, past_key_values):
        x = self.words(input_ids)
        key, value = past_key_values.update(_heads(self.k(x)), _heads(self.v(x)), 0)
        queries = torch.arange(x.shape[1])[:, None] + (key.shape[2] - x.shape[1])
        seen = torch.arange(key.shape[2])[None, :] <= queries
        y = torch.nn.functional.scaled_dot_product_attention(_heads(self.q(x)), key, value, attn_mask=seen)
        logits = self.head(x + 4 * y.transpose(1, 2).flatten(2))
        return {"logits": logits, "past_key_values": past_key_values}


def inputs_with_cache(seed):
    import transformers

    generator = torch.Generator().manual_seed(seed)
    cache = transformers.DynamicCache()
    cache.update(*(torch.randn(2, 2, 3, 8, generator=generator) for _ in range(2)), 0)
    return {"input_ids": torch.randint(0, 50, (2, 2), generator=generator), "past_key_values": cache}
