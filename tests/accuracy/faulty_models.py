"""Small BERT, Whisper decoder and ResNet whose every part shows in the outputs: for planted faults."""

import torch

from pytest_modelcheck import ModelCase


@torch.no_grad()
def spread(module):
    """Weights that matter: with freshly initialised ones, attention is nearly uniform and GELU nearly linear."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 2:
            parameter.copy_(noise * (1.0 if "embed" in name else 1.5 * parameter.shape[1] ** -0.5))
        else:
            parameter.add_(0.1 * noise)
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):
            buffer.mul_(torch.exp(0.3 * torch.randn(buffer.shape, generator=generator)))
        elif name.endswith("running_mean"):
            buffer.add_(0.1 * torch.randn(buffer.shape, generator=generator))
    return module


def bert():
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    return spread(BertModel(BertConfig(vocab_size=200, max_position_embeddings=32, **sizes)))


def whisper_decoder():
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperDecoder

    layers = {"decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 128, "encoder_layers": 1}
    tokens = {"vocab_size": 200, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = WhisperConfig(d_model=64, max_target_positions=32, use_cache=False, **layers, **tokens)
    return spread(WhisperDecoder(config))


def resnet():
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}
    return spread(ResNetForImageClassification(ResNetConfig(num_labels=20, **sizes)))


def tokens(seed, *, batch=2, length=8):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[1, length - 2 :] = 0
    return {"input_ids": torch.randint(0, 200, (batch, length), generator=generator), "attention_mask": mask}


def decoder_inputs(seed):
    generator = torch.Generator().manual_seed(seed + 1000)
    return {**tokens(seed), "encoder_hidden_states": torch.randn(2, 12, 64, generator=generator)}


def image(seed):
    return {"pixel_values": torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))}


SMALL = {
    "bert": ModelCase("bert", bert, tokens, output_names=["last_hidden_state", "pooler_output"]),
    "whisper-decoder": ModelCase(
        "whisper-decoder", whisper_decoder, decoder_inputs, output_names=["last_hidden_state"]
    ),
    "resnet": ModelCase("resnet", resnet, image, output_names=["logits"]),
}
