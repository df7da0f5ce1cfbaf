"""MPT: head counts that are and are not powers of two, numbers cut off, a scale of its own; and the models that
transformers does not run: without ALiBi, with biases, with queries and keys normalised, with a wider MLP."""

import torch
from checkpoints import Case
from transformers import MptConfig, MptForCausalLM
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

MPT = dict(vocab_size=72, d_model=24, n_heads=3, n_layers=2, max_seq_len=32)


class Mpt(MptForCausalLM):
    """With what transformers leaves out: the published code computes it so."""

    def __init__(self, config):
        super().__init__(config)
        attention, width, biased = config.attn_config, config.d_model, not config.no_bias
        model = self.transformer
        if attention.alibi:
            steepness = attention.alibi_bias_max
            model.build_mpt_alibi_tensor = lambda heads, length, device=None: build_mpt_alibi_tensor(
                heads, length, steepness, device
            )
        else:
            model.wpe = torch.nn.Embedding(config.max_seq_len, width)
            model.wte.register_forward_hook(lambda _, ids, rows: rows + model.wpe.weight[: rows.shape[1]])
            model.build_mpt_alibi_tensor = lambda heads, length, device=None: torch.zeros(heads, 1, length)
        linear = lambda inputs, outputs: torch.nn.Linear(inputs, outputs, bias=biased)
        norm = lambda: torch.nn.LayerNorm(width, bias=biased)
        for block in model.blocks:
            inner = config.expansion_ratio * width
            block.ffn.up_proj, block.ffn.down_proj = linear(width, inner), linear(inner, width)
            block.attn.Wqkv, block.attn.out_proj = linear(width, 3 * width), linear(width, width)
            block.norm_1, block.norm_2 = norm(), norm()
            if attention.qk_ln:
                block.attn.q_ln, block.attn.k_ln = norm(), norm()
                block.attn.Wqkv.register_forward_hook(self.normalise(block.attn))
        model.norm_f = norm()

    @staticmethod
    def normalise(attention):
        def hook(module, inputs, output):
            queries, keys, values = output.chunk(3, dim=-1)
            return torch.cat([attention.q_ln(queries), attention.k_ln(keys), values], dim=-1)

        return hook


def mpt(kind=MptForCausalLM, **options):
    return lambda: kind(MptConfig(**MPT | options))


CASES = {
    "mpt": Case(
        lambda: mpt(attn_config={"clip_qkv": 1.5, "softmax_scale": 0.5})().to(torch.bfloat16), spread=0.4
    ),
    "mpt-8-heads": Case(mpt(n_heads=8, tie_word_embeddings=False), stored=False, spread=0.5),
    "mpt-steep": Case(
        mpt(Mpt, attn_config={"alibi_bias_max": 16}, n_heads=6, expansion_ratio=2),
        reader=Mpt,
        stored=False,
        spread=0.5,
    ),
    "mpt-learned": Case(
        mpt(Mpt, attn_config={"alibi": False, "qk_ln": True}, no_bias=False), reader=Mpt, length=10, stored=False
    ),
}
