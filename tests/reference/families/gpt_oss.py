"""gpt-oss: sinks, windows in every other layer, YaRN, biased experts whose gates and ways in take turns, also as MXFP4."""

import torch
from checkpoints import Case, config_of, older_keys, without
from safetensors.torch import load_file, save_file
from transformers import GptOssConfig, GptOssForCausalLM

GPT_OSS = dict(
    vocab_size=64,
    hidden_size=24,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    head_dim=12,
    max_position_embeddings=64,
    sliding_window=5,
    num_local_experts=4,
    num_experts_per_tok=2,
    swiglu_limit=1.5,
    rope_parameters={
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "beta_fast": 4.0,
        "beta_slow": 0.5,
        "truncate": False,
        "original_max_position_embeddings": 16,
    },
)


def gpt_oss(**options):
    return lambda: GptOssForCausalLM(GptOssConfig(**GPT_OSS | options))


def mxfp4(folder):
    """Stores experts as OpenAI does: `[experts, outputs, blocks of 32, 16 bytes]` with a power of two for each block."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    numbers = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    for name in [name for name in tensors if name.endswith("_proj") and "experts" in name]:
        blocks = tensors.pop(name).transpose(1, 2).unflatten(-1, (-1, 32)).float()
        power = blocks.abs().amax(-1).log2().floor() - 2
        scaled = blocks / power.exp2()[..., None]
        codes = (scaled.abs()[..., None] - numbers).abs().argmin(-1) + 8 * (scaled < 0)
        tensors[f"{name}_blocks"] = (codes[..., ::2] + 16 * codes[..., 1::2]).to(torch.uint8)
        tensors[f"{name}_scales"] = (power + 127).to(torch.uint8)
    save_file(tensors, file, metadata={"format": "pt"})
    with config_of(folder) as config:
        config["quantization_config"] = {"quant_method": "mxfp4", "dequantize": True}


CASES = {
    "gpt_oss": Case(lambda: gpt_oss()().to(torch.bfloat16), rewrite=older_keys),
    "gpt_oss-kinds": Case(
        gpt_oss(
            num_attention_heads=4,
            num_key_value_heads=2,
            num_hidden_layers=3,
            layer_types=["full_attention", "sliding_attention", "full_attention"],
            num_experts_per_tok=3,
            tie_word_embeddings=True,
        ),
        stored=False,
    ),
    "gpt_oss-mxfp4": Case(
        gpt_oss(hidden_size=64, intermediate_size=32, num_local_experts=3), rewrite=mxfp4, stored=False
    ),
    "gpt_oss-unbiased": Case(gpt_oss(attention_bias=False), stored=False),
    "gpt_oss-default": Case(
        gpt_oss(rope_parameters=None, swiglu_limit=7.0, num_attention_heads=8, num_key_value_heads=8, head_dim=64),
        rewrite=without(
            "head_dim", "layer_types", "num_key_value_heads", "rms_norm_eps", "rope_parameters", "swiglu_limit"
        ),
        stored=False,
    ),
}
