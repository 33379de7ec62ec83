"""Architectures that the zoo has not, by both exporters, through our pipeline and the peers, as `shipped_files` does.

    python -m benchmarks.further_architectures                    # all of them
    python -m benchmarks.further_architectures electra convnext   # some

From their configs under a seed, a few layers deep and narrow. Returns 1 where a right peer leaves fewer nodes, where
our result is wrong, or a second run leaves fewer. What an exporter refuses is said and left out.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.peers.results import EXPORTS
from benchmarks.shipped_files import report
from examples.zoo.jitter import jitter
from pytest_modelcheck import ModelCase
from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.model_case import EXPORTERS, Exporter

_FOLDER = EXPORTS / "further"
_WIDTH = {"vocab_size": 100, "hidden_size": 64, "num_attention_heads": 4}
_TEXT = {**_WIDTH, "num_hidden_layers": 6, "intermediate_size": 128, "max_position_embeddings": 64, "use_cache": False}
_GROUPED = {**_TEXT, "num_key_value_heads": 2}
_IMAGE = {"hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "image_size": 64}
_STAGES = {"hidden_sizes": [16, 32, 48, 64]}
_POSITIONS = {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}
_FRAMES = {
    **{"conv_dim": [16] * 4, "conv_stride": [5, 2, 2, 2], "conv_kernel": [10, 3, 3, 3], "feat_extract_norm": "layer"},
    **{"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4},
}
_SCALES = {"depths": [2, 2, 2], "num_attention_heads": [2, 2, 2], "key_dim": [8, 8, 8], "hidden_sizes": [16, 24, 32]}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "electra": ("Electra", {**_TEXT, "embedding_size": 32}),
    "mpnet": ("MPNet", _TEXT),
    "deberta": ("DebertaV2", {**_TEXT, **_POSITIONS}),
    "qwen2": ("Qwen2", _GROUPED),
    "gemma2": ("Gemma2", {**_GROUPED, "head_dim": 16}),
    "mistral": ("Mistral", {**_GROUPED, "sliding_window": 8}),
    "gpt-neox": ("GPTNeoX", _TEXT),
    "opt": ("OPT", {**_TEXT, "ffn_dim": 128, "word_embed_proj_dim": 64}),
    "bloom": ("Bloom", {**_WIDTH, "n_layer": 6, "n_head": 4, "use_cache": False}),
    "falcon": ("Falcon", {**_TEXT, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "convnext": ("ConvNext", {**_STAGES, "depths": [2, 2, 4, 2]}),
    "levit": ("Levit", {"image_size": 64, **_SCALES}),
    "swin": ("Swin", {"image_size": 64, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4}),
    "segformer": ("Segformer", {**_STAGES, "num_attention_heads": [1, 2, 2, 4]}),
    "dinov2": ("Dinov2", {**_IMAGE, "patch_size": 16}),
    "beit": ("Beit", {**_IMAGE, "intermediate_size": 128, "use_relative_position_bias": True}),
    "wav2vec2": ("Wav2Vec2", {**_TEXT, **_FRAMES}),
    "hubert": ("Hubert", {**_TEXT, **_FRAMES}),
}
"""Name -> what transformers calls the model, and its config."""


def case_of(name: str) -> ModelCase:
    """The case of one architecture."""
    family, fields = ARCHITECTURES[name]

    def build() -> torch.nn.Module:
        config = getattr(transformers, f"{family}Config")(**fields)
        module: torch.nn.Module = getattr(transformers, f"{family}Model")(config)
        return jitter(module).eval()

    reads = getattr(transformers, f"{family}Model").main_input_name

    def inputs(seed: int) -> dict[str, torch.Tensor]:
        draw = torch.Generator().manual_seed(seed)
        if reads == "pixel_values":
            return {reads: torch.randn(2, 3, 64, 64, generator=draw)}
        if reads == "input_values":
            return {reads: torch.randn(2, 1600, generator=draw)}
        mask = torch.ones(2, 16, dtype=torch.long)
        mask[1, 12:] = 0
        return {reads: torch.randint(5, 90, (2, 16), generator=draw), "attention_mask": mask}

    text = {"input_ids": {0: "batch", 1: "sequence"}, "attention_mask": {0: "batch", 1: "sequence"}}
    return ModelCase(name, build, inputs, dynamic_axes=text if reads == "input_ids" else {reads: {0: "batch"}})


def exported(name: str, exporter: Exporter) -> Iterator[Path]:
    """The file of one architecture, made once; none where the exporter refuses it, which is said."""
    file = _FOLDER / f"{name}-{exporter}.onnx"
    if not file.is_file():
        made = export(case_of(name), exporter=exporter)
        if not isinstance(made, Exported):
            print(f"{name} by {exporter}: {made.kind}: {made.reason}"[:200], flush=True)
            return
        _FOLDER.mkdir(parents=True, exist_ok=True)
        for part in made.path.parent.glob(f"{made.path.name}*"):
            shutil.copy(part, _FOLDER / part.name.replace(made.path.stem, file.stem, 1))
    yield file


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(ARCHITECTURES))
    arguments = parser.parse_args()
    return report(file for name in arguments.names for exporter in EXPORTERS for file in exported(name, exporter))


if __name__ == "__main__":
    sys.exit(main())
