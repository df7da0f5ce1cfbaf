"""OPT: also as OPT-350m is, embedded in fewer numbers and normalised after each sum, and without biases or gains."""

import torch
from checkpoints import Case
from transformers import OPTConfig, OPTForCausalLM

OPT = dict(
    vocab_size=72,
    hidden_size=24,
    ffn_dim=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    max_position_embeddings=32,
    bos_token_id=2,
    eos_token_id=2,
)


def opt(**options):
    return lambda: OPTForCausalLM(OPTConfig(**OPT | options))


CASES = {
    "opt": Case(opt(), stored=False),
    "opt-350m": Case(
        lambda: opt(word_embed_proj_dim=16, do_layer_norm_before=False)().to(torch.bfloat16), spread=0.45
    ),
    "opt-plain": Case(
        opt(
            enable_bias=False,
            layer_norm_elementwise_affine=False,
            activation_function="gelu",
            tie_word_embeddings=False,
        ),
        stored=False,
    ),
    "opt-lost-norm": Case(opt(_remove_final_layer_norm=True, word_embed_proj_dim=32), stored=False),
}
