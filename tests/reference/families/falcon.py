"""Falcon: its three shapes of queries, keys and values, one and two normalisations, rotary positions and ALiBi."""

import torch
from checkpoints import Case, older_keys
from transformers import FalconConfig, FalconForCausalLM

FALCON = dict(
    vocab_size=72,
    hidden_size=24,
    ffn_hidden_size=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    max_position_embeddings=32,
    bos_token_id=0,
    eos_token_id=0,
)


class AlibiOnce(FalconForCausalLM):
    """Eager attention adds ALiBi to the scores and to the mask as well; with this it is in the mask alone, as it is
    where patterns are not asked for."""

    def __init__(self, config):
        super().__init__(config)
        for block in self.transformer.h:
            block.self_attention.register_forward_pre_hook(self.without, with_kwargs=True)

    @staticmethod
    def without(module, args, kwargs):
        return args, kwargs | {"alibi": torch.zeros_like(kwargs["alibi"])}


def falcon(**options):
    return lambda: FalconForCausalLM(FalconConfig(**FALCON | options))


RW = dict(alibi=True, multi_query=False, parallel_attn=False, bias=True)
GROUPED = dict(new_decoder_architecture=True, num_attention_heads=6, num_kv_heads=2)

CASES = {
    "falcon": Case(lambda: falcon()().to(torch.bfloat16), rewrite=older_keys, spread=0.4),
    "falcon-alibi": Case(
        lambda: falcon(num_hidden_layers=1, num_attention_heads=12, **RW)().to(torch.bfloat16),
        reader=AlibiOnce,
        spread=0.7,
    ),
    "falcon-grouped": Case(falcon(**GROUPED), stored=False, spread=0.5),
    "falcon-grouped-one-norm": Case(
        falcon(num_ln_in_parallel_attn=1, bias=True, tie_word_embeddings=False, activation="gelu_new", **GROUPED),
        stored=False,
        spread=0.5,
    ),
    "falcon-serial": Case(
        falcon(parallel_attn=False, multi_query=False, rope_parameters={"rope_type": "default", "rope_theta": 500.0}),
        stored=False,
        spread=0.4,
    ),
    "falcon-multi-query-alibi": Case(
        falcon(alibi=True, num_attention_heads=8, ffn_hidden_size=None),
        reader=AlibiOnce,
        stored=False,
        spread=0.7,
    ),
}
