"""Models by name: the architecture from the installed library, random weights, nothing is downloaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pytest_modelcheck.scaffold.target import Target, TargetError

_TINY = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "hidden_dim"), 32),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim", "d_ff", "n_inner"), 64),
    **dict.fromkeys(("num_hidden_layers", "encoder_layers", "decoder_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("num_decoder_layers",), 2),
    **dict.fromkeys(("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("n_head", "n_heads", "num_heads", "num_key_value_heads"), 4),
    **dict.fromkeys(("head_dim", "d_kv", "embedding_size"), 8),
}
_NO_IMAGE = ("detection", "optical_flow", "quantization", "video")
"""Parts of torchvision.models whose models read lists, pairs or clips, or want another build."""
_IMAGE, _AUDIO = "pixel_values", ("input_values", "input_features")


def hugging_face(name: str, *, tiny: bool = False) -> Target:
    """A model of transformers, by the name of a checkpoint or of an architecture.

    Raises:
        TargetError: if transformers is not installed, knows no such architecture, or cannot build it.
    """
    try:
        from transformers import CONFIG_MAPPING, AutoConfig, AutoModel
    except ImportError:
        raise TargetError(f"hf:{name}: transformers is not installed; pip install transformers") from None
    architecture = _architecture(name, list(CONFIG_MAPPING))
    config = AutoConfig.for_model(architecture)
    known = config.to_dict()
    staged = any(isinstance(known.get(key), (list, tuple)) for key in ("num_heads", "num_attention_heads"))
    # Where heads are listed by stage, a width of one's own would not divide by them.
    small = {} if staged or not tiny else _TINY
    changes = {key: value for key, value in small.items() if isinstance(known.get(key), int)}
    changes |= {"use_cache": False} if "use_cache" in known else {}
    config.update(changes)
    try:
        model = AutoModel.from_config(config).eval()  # type: ignore[no-untyped-call, unused-ignore]
    except Exception as error:  # whatever a model's constructor raises is why it cannot be built
        raise TargetError(
            f"hf:{name}: {architecture} cannot be built from its default configuration: {error}"
        ) from None
    inputs = _inputs_of(name, model, config)
    settings = ", ".join([_quoted(architecture), *(f"{key}={value!r}" for key, value in changes.items())])
    source = (
        "import torch\nfrom transformers import AutoConfig, AutoModel\n\n\n"
        "def build():\n"
        f"    config = AutoConfig.for_model({settings})\n    return AutoModel.from_config(config)\n\n\n"
        f"{inputs}"
    )
    outputs = _outputs_of(name, model, source)
    note = f"hf:{name} is the library's default {architecture}: the configuration of the checkpoint is not downloaded"
    return Target(
        name=name.rpartition("/")[2],
        source=source,
        arguments=("build", "inputs", f"output_names=[{', '.join(map(_quoted, outputs))}]", *_axes(inputs)),
        notes=(note,),
        packages=("transformers",),
    )


def timm(name: str) -> Target:
    """A model of timm.

    Raises:
        TargetError: if timm is not installed, or knows no such model.
    """
    try:
        import timm as library  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise TargetError(f"timm:{name}: timm is not installed; pip install timm") from None
    if not library.is_model(name):
        raise _unknown("timm", name, library.list_models(f"*{name.split('_')[0]}*")[:5])
    shape = (1, *library.get_pretrained_cfg(name).input_size)
    return _image_model(name, "timm", f'timm.create_model("{name}", pretrained=False)', shape)


def torchvision(name: str) -> Target:
    """A model of torchvision that reads one image.

    Raises:
        TargetError: if torchvision is not installed or cannot be loaded, knows no such model, or the model reads
            something else.
    """
    try:
        from torchvision import models  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise TargetError(f"torchvision:{name}: torchvision is not installed; pip install torchvision") from None
    except RuntimeError as error:  # its operators were built for another torch
        raise TargetError(f"torchvision:{name}: torchvision cannot be loaded beside this torch: {error}") from None
    if name not in (known := models.list_models()):
        raise _unknown("torchvision", name, get_close_matches(name, known, n=5))
    if (family := models.get_model_builder(name).__module__.split(".")[2]) in _NO_IMAGE:
        raise TargetError(
            f"torchvision:{name}: a model of torchvision.models.{family} reads no plain image; "
            f"write build() and inputs(seed) in a module and run init package.module:build"
        )
    # None where a model has no published weights; those of a segmentation name no size.
    weights = getattr(models.get_model_weights(name), "DEFAULT", None)
    (size,) = getattr(weights and weights.transforms(), "crop_size", [224])
    made = f'torchvision.models.get_model("{name}", weights=None)'
    return _image_model(name, "torchvision", made, (1, 3, size, size))


def _unknown(library: str, name: str, close: Sequence[str]) -> TargetError:
    return TargetError(f"{library}:{name}: there is no such model; near it: {', '.join(close) or 'none'}")


def _image_model(name: str, library: str, made: str, shape: Sequence[int]) -> Target:
    source = (
        f"import {library}\nimport torch\n\n\n"
        f"def build():\n    return {made}\n\n\n"
        f"def inputs(seed):\n    drawn = torch.Generator().manual_seed(seed)\n"
        f'    return {{"x": torch.randn({", ".join(map(str, shape))}, generator=drawn)}}'
    )
    return Target(name=name, source=source, arguments=("build", "inputs"), packages=(library,))


def _architecture(name: str, known: list[str]) -> str:
    """The longest architecture whose name the model's name begins with or holds as a word."""
    plain = name.rpartition("/")[2].lower().replace("_", "-")
    found = [each for each in known if re.search(rf"(^|-){re.escape(each.replace('_', '-'))}($|[-.\d])", plain)]
    if not found:
        raise TargetError(
            f"hf:{name}: transformers has no architecture of this name; "
            f"hf: takes names such as bert-base-uncased, vit, gpt2, whisper-tiny"
        )
    return max(found, key=len)


def _inputs_of(name: str, model: Any, config: Any) -> str:
    """``def inputs(seed)`` for what the model reads."""
    main, text = model.main_input_name, getattr(config, "get_text_config", lambda: config)()
    head = "def inputs(seed):\n    drawn = torch.Generator().manual_seed(seed)\n"
    if main == "input_ids" and isinstance(vocabulary := getattr(text, "vocab_size", None), int):
        ids = f"    ids = torch.randint(0, {vocabulary}, (2, 16), generator=drawn)\n"
        more = ', "decoder_input_ids": ids[:, :8]' if getattr(config, "is_encoder_decoder", False) else ""
        return f'{head}{ids}    return {{"input_ids": ids, "attention_mask": torch.ones_like(ids){more}}}'
    if main == _IMAGE and not hasattr(config, "vision_config"):
        size = getattr(config, "image_size", None) or 224
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        shape = f"1, {getattr(config, 'num_channels', 3)}, {height}, {width}"
        return f'{head}    return {{"{_IMAGE}": torch.randn({shape}, generator=drawn)}}'
    if main == "input_features" and hasattr(config, "max_source_positions"):
        shape = f"1, {config.num_mel_bins}, {2 * config.max_source_positions}"
        return (
            f"{head}    features = torch.randn({shape}, generator=drawn)\n"
            f"    ids = torch.randint(0, {config.vocab_size}, (1, 8), generator=drawn)\n"
            f'    return {{"input_features": features, "decoder_input_ids": ids}}'
        )
    if main == "input_values":
        return f'{head}    return {{"input_values": torch.randn(1, 16000, generator=drawn)}}'
    raise TargetError(
        f"hf:{name}: its forward() reads {main}, of which no example can be drawn; "
        f"write build() and inputs(seed) in a module and run init package.module:build"
    )


def _outputs_of(name: str, model: Any, source: str) -> list[str]:
    """The tensors of the output, by the name of their field."""
    import torch

    namespace: dict[str, Any] = {}
    exec(source, namespace)
    try:
        with torch.no_grad():
            result = model(**namespace["inputs"](0))
    except Exception as error:  # whatever forward raises is why there is nothing to test
        raise TargetError(f"hf:{name}: forward() failed on drawn inputs: {error}") from None
    return [key for key, value in result.items() if isinstance(value, torch.Tensor)]


def _axes(inputs: str) -> tuple[str, ...]:
    """The dynamic axes of what has a batch and a sequence."""
    names = re.findall(r'"(input_ids|attention_mask|decoder_input_ids)":', inputs)
    second = {"decoder_input_ids": "target"}
    pairs = ", ".join(f'"{name}": {{0: "batch", 1: "{second.get(name, "sequence")}"}}' for name in names)
    return (f"dynamic_axes={{{pairs}}}",) if names else ()


def _quoted(text: str) -> str:
    return f'"{text}"'
