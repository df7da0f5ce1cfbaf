"""Adapters of peft on the models of `tests/fixtures`, and what those compute once they are merged.

Each folder is as peft saves it; `reference.safetensors` has ids, the logits behind the last and every layer's pattern of
what peft makes of base and folder when it opens them, without merging: of tied matrices a merge would change both.
"""

import json

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

IDS = [5, 9, 60, 5, 9, 33]

GPT2 = dict(
    plain=dict(target_modules=["c_attn", "attn.c_proj"], r=3, lora_alpha=5, fan_in_fan_out=True),
    everything=dict(
        target_modules=["c_attn", "c_proj", "c_fc", "wte"],
        r=2,
        lora_alpha=3,
        fan_in_fan_out=True,
        use_rslora=True,
        bias="all",
        modules_to_save=["ln_f"],
    ),
    dora=dict(target_modules=["c_attn", "c_fc"], r=1, lora_alpha=2, fan_in_fan_out=True, use_dora=True),
    biased=dict(target_modules=["c_attn"], r=2, lora_alpha=4, fan_in_fan_out=True, lora_bias=True),
    # Where the flag is wrong, peft sees that the layers are Conv1D.
    unturned=dict(target_modules=["c_attn", "c_proj", "c_fc"], r=2, lora_alpha=3, fan_in_fan_out=False),
    **{"tied-wte": dict(target_modules=["wte", "c_attn"], r=2, lora_alpha=3, fan_in_fan_out=True)},
)
LLAMA = dict(
    patterns=dict(
        target_modules=["q_proj", "v_proj", "down_proj"],
        r=2,
        lora_alpha=3,
        rank_pattern={"v_proj": 3, "layers.0.self_attn.q_proj": 1},
        alpha_pattern={"down_proj": 7, r".*\.1\.self_attn\.q_proj": 0.5},
    ),
    magnitudes=dict(target_modules="all-linear", r=1, lora_alpha=2, use_dora=True),
    tokens=dict(target_modules=["q_proj"], r=2, lora_alpha=3, trainable_token_indices=[5, 60, 95]),
)
# Of nn.Linear, one of them square, the other way round.
NEOX = dict(
    turned=dict(target_modules=["query_key_value", "dense"], r=2, lora_alpha=3, fan_in_fan_out=True),
    # Files of the base call it `embed_out`.
    renamed=dict(target_modules=["lm_head"], r=2, lora_alpha=3),
)
# Of a base whose unembedding is its embedding.
ENDS = ["embed_tokens", "lm_head"]
TIED = {
    "tied-embedding": dict(target_modules=["embed_tokens", "q_proj"]),
    "tied-head": dict(target_modules=["lm_head", "q_proj"]),
    "tied-both": dict(target_modules=[*ENDS, "q_proj"]),
    "tied-ensured": dict(target_modules=["embed_tokens", "q_proj"], ensure_weight_tying=True),
    "tied-embedding-saved": dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
    "tied-head-saved": dict(target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "tied-both-saved": dict(target_modules=["q_proj"], modules_to_save=ENDS),
    "tied-ensured-saved": dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    "tied-tokens": dict(target_modules=["q_proj"], trainable_token_indices=[5, 60, 95]),
    "tied-tokens-apart": dict(
        target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [5, 60], "lm_head": [7, 60, 80]}
    ),
}


def opened(base, tokens):
    """The base, with rows for so many tokens more."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()
    if tokens:
        model.resize_token_embeddings(model.config.vocab_size + tokens, mean_resizing=False)
    return model


def adapt(base, folder, settings, seed, tokens=0):
    """Saves an adapter whose every number was drawn, and what the model with it computes."""
    torch.manual_seed(seed)
    model = get_peft_model(opened(base, tokens), LoraConfig(**settings)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                drawn = torch.randn(parameter.shape, generator=generator) * 0.2
                parameter.copy_(parameter * (1 + drawn) if "magnitude" in name else parameter + drawn)
    model.save_pretrained(folder, save_embedding_layers=True if tokens else "auto")
    (folder / "README.md").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"example/{base.name}"
    config["target_modules"].sort()
    # Which peft has set right.
    config |= {key: settings[key] for key in settings.keys() & {"fan_in_fan_out"}}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    model = PeftModel.from_pretrained(opened(base, tokens), folder).eval()
    ids = torch.tensor([IDS]) % model.config.vocab_size
    with torch.no_grad():
        out = model(ids, output_attentions=True)
    reference = {f"pattern.{layer}": pattern[0].contiguous() for layer, pattern in enumerate(out.attentions)}
    save_file(reference | {"ids": ids[0], "logits": out.logits[0, -1]}, folder / "reference.safetensors")


def older(folder):
    """The plain adapter as early releases left it: a file of torch, with the adapter's own name in the tensors'."""
    plain = folder.parent / "plain"
    folder.mkdir()
    tensors = load_file(plain / "adapter_model.safetensors")
    named = {name.replace(".weight", ".default.weight"): tensor for name, tensor in tensors.items()}
    torch.save(named, folder / "adapter_model.bin")
    keys = ["peft_type", "r", "lora_alpha", "fan_in_fan_out", "base_model_name_or_path", "bias"]
    config = json.loads((plain / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({key: config[key] for key in keys}) + "\n")


def write(root):
    """Writes all of them to `root/adapters`."""
    tied = {name: dict(r=2, lora_alpha=3) | setting for name, setting in TIED.items()}
    cases = [("gpt2", GPT2), ("llama-gqa", LLAMA), ("gpt_neox", NEOX), ("llama-tied-mqa", tied)]
    for base, settings in cases:
        for seed, (name, setting) in enumerate(settings.items()):
            adapt(root / base, root / "adapters" / name, setting, seed)
    # With tokens that the base does not have, so that the adapter brings both ends along.
    resized = {
        "resized": ("llama-gqa", {}),
        "tied-resized": ("llama-tied-mqa", {}),
        "tied-resized-embedding": ("llama-tied-mqa", dict(target_modules=["embed_tokens", "q_proj"])),
        "tied-resized-tokens": ("llama-tied-mqa", dict(trainable_token_indices=[96, 98])),
    }
    for seed, (name, (base, setting)) in enumerate(resized.items()):
        setting = dict(target_modules=["q_proj"], r=2, lora_alpha=3) | setting
        adapt(root / base, root / "adapters" / name, setting, seed, tokens=3)
    older(root / "adapters" / "older")
