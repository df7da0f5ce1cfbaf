"""GGUF files of the architectures; the reference is what transformers reads from the file, where it can."""

import dataclasses

from gguf import GGMLQuantizationType as Type
from ggufs import case

from families.bloom import bloom
from families.cohere import cohere, cohere2
from families.falcon import GROUPED, falcon
from families.gemma import gemma, gemma2, gemma3
from families.gpt2 import gpt2
from families.gpt_bigcode import bigcode
from families.gpt_neox import neox
from families.gpt_oss import gpt_oss
from families.gptj import gptj
from families.granite import granite
from families.kin import BIASES, GQA, HALF, model
from families.llama import llama
from families.mistral import mistral
from families.mixtral import mixtral
from families.kin import GQA, model
from families.moe import ERNIE, FACTORS, GROUPS, HUNYUAN, LOCAL, MOE, QWEN, ROUTED, drawn
from families.mpt import mpt
from families.olmo import olmo, olmo2, olmo3
from families.phi import phi
from families.phi3 import longrope, phi3
from families.qwen import qwen2, qwen3, qwen3_moe
from families.smollm3 import smollm3
from families.stablelm import stablelm
from families.starcoder2 import starcoder2

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 100.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "attention_factor": 1.3,
    "beta_fast": 1.0,
    "beta_slow": 0.2,
}
# Matrices of 32 columns or a multiple, for types that have blocks.
SQUARE = dict(hidden_size=32, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=16)

# Files say nothing of Gemma's scale, which comes from the size of a head.
OF_HEAD = dict(head_dim=12, query_pre_attn_scalar=12)
GROWING = YARN | dict(llama_4_scaling_beta=0.7, original_max_position_embeddings=4, mscale=1.0, mscale_all_dim=1.0)
GROWING |= dict(attention_factor=None)
KINDS = ["full_attention", "sliding_attention", "full_attention"]
CAPS = dict(attn_logit_softcapping=1.5, final_logit_softcapping=2.0)

STORED = {
    "gguf-llama-q8": case(llama(**SQUARE), Type.Q8_0, read_back={}),
    "gguf-bloom": case(bloom(), Type.F16, read_back={}, spread=0.45),
    "gguf-phi3": case(longrope(10, 6), Type.F16),
    # With a seed for which no token's choice of experts is so close that weights rounded to bf16 change it.
    "gguf-gpt_oss": case(gpt_oss(swiglu_limit=7.0), Type.F16, seed=3),
}
OTHERS = {
    "gguf-bloom-q8": case(bloom(hidden_size=32, n_head=4), Type.Q8_0, read_back={}, spread=0.45),
    "gguf-qwen3_moe-q8": case(
        qwen3_moe(hidden_size=32, moe_intermediate_size=32, head_dim=32, norm_topk_prob=True),
        Type.Q8_0,
        read_back=dict(moe_intermediate_size=32),
    ),
    "gguf-llama-q4": case(llama(**SQUARE), Type.Q4_0, read_back={}),
    "gguf-llama-f16": case(
        llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
        Type.F16,
        read_back=dict(attention_bias=True, mlp_bias=True),
    ),
    "gguf-llama3": case(llama(head_dim=16, rope_parameters=LLAMA3)),
    "gguf-llama-linear": case(llama(rope_parameters=LINEAR, rms_norm_eps=0.01)),
    "gguf-llama-yarn": case(llama(rope_parameters=YARN, num_key_value_heads=1)),
    "gguf-mistral": case(mistral(head_dim=10, sliding_window=None), read_back={}),
    "gguf-mixtral": case(mixtral()),
    "gguf-gpt2": case(gpt2(), read_back=dict(n_positions=32)),
    "gguf-gpt2-untied": case(gpt2(n_inner=50, layer_norm_epsilon=0.01, tie_word_embeddings=False)),
    "gguf-gpt_bigcode": case(bigcode(n_inner=None), spread=0.4),
    "gguf-gpt_neox": case(neox(layer_norm_eps=0.01)),
    "gguf-gpt_neox-serial": case(
        neox(use_parallel_residual=False, rotary_pct=1.0, attention_bias=False, tie_word_embeddings=True)
    ),
    "gguf-gptj": case(gptj(), spread=0.4),
    "gguf-falcon": case(falcon(ffn_hidden_size=96), read_back={}, spread=0.4),
    "gguf-falcon-grouped": case(falcon(layer_norm_epsilon=0.01, **GROUPED), spread=0.5),
    "gguf-falcon-one-norm": case(
        falcon(num_ln_in_parallel_attn=1, bias=True, tie_word_embeddings=False, **GROUPED), spread=0.5
    ),
    "gguf-mpt": case(mpt(attn_config={"clip_qkv": 1.5}), spread=0.4),
    "gguf-mpt-8-heads": case(mpt(n_heads=8, layer_norm_epsilon=0.01, tie_word_embeddings=False), spread=0.5),
    "gguf-phi": case(phi(), spread=0.4),
    "gguf-phi3-short": case(longrope(32, 8, attention_factor=1.2)),
    "gguf-phi3-window": case(phi3(sliding_window=5, hidden_size=32, num_attention_heads=4, num_key_value_heads=2)),
    "gguf-phi3-plain": case(phi3(tie_word_embeddings=True), read_back=dict(pad_token_id=0)),
    "gguf-qwen2": case(qwen2(tie_word_embeddings=True), read_back={}),
    "gguf-qwen2-yarn": case(qwen2(rope_parameters=YARN)),
    "gguf-qwen3": case(qwen3(), read_back=dict(head_dim=10)),
    "gguf-qwen3_moe": case(qwen3_moe(norm_topk_prob=True), read_back=dict(moe_intermediate_size=12)),
    "gguf-smollm3": case(smollm3(num_hidden_layers=5, tie_word_embeddings=False)),
    "gguf-granite": case(granite()),
    "gguf-granite-biased": case(
        granite(attention_bias=True, mlp_bias=True, tie_word_embeddings=False, logits_scaling=0.5), spread=0.4
    ),
    "gguf-stablelm": case(stablelm(qk_layernorm=True, use_qkv_bias=True), length=10),
    "gguf-stablelm-parallel": case(stablelm(use_parallel_residual=True, qk_layernorm=True), length=10),
    "gguf-stablelm-plain": case(stablelm(), read_back={}),
    "gguf-cohere": case(cohere(use_qk_norm=True), spread=0.4),
    "gguf-cohere-plain": case(cohere(attention_bias=True, logit_scale=0.5), spread=0.4),
    "gguf-cohere2": case(cohere2(), spread=0.4),
    "gguf-gemma": case(gemma(), spread=0.22),
    "gguf-gemma2": case(gemma2(**OF_HEAD), Type.BF16, read_back=OF_HEAD, length=12),
    "gguf-gemma2-capped": case(gemma2(**OF_HEAD | CAPS)),
    "gguf-gemma3": case(gemma3(query_pre_attn_scalar=8)),
    "gguf-olmo": case(olmo(clip_qkv=2.0), spread=0.5),
    "gguf-olmo2": case(olmo2(tie_word_embeddings=True), spread=0.5),
    "gguf-olmo3": case(olmo3(num_hidden_layers=3, layer_types=KINDS), length=24, spread=0.5),
    "gguf-apertus": case(model("apertus", **GQA, attention_bias=True, num_hidden_layers=3, rope_parameters=LLAMA3)),
    "gguf-arcee": case(model("arcee", **BIASES), spread=0.35),
    "gguf-arcee-gqa": case(model("arcee", **GQA, head_dim=10, rope_parameters=YARN, tie_word_embeddings=True)),
    "gguf-ernie4_5": case(model("ernie4_5", head_dim=10, use_bias=True), spread=0.35),
    "gguf-ernie4_5-plain": case(model("ernie4_5", **GQA, head_dim=6, tie_word_embeddings=False), spread=0.35),
    "gguf-exaone4": case(model("exaone4", num_hidden_layers=5, sliding_window=4, head_dim=10), spread=0.35),
    "gguf-exaone4-full": case(
        model(
            "exaone4", sliding_window=None, layer_types=["full_attention"] * 2, tie_word_embeddings=True, rope_parameters=LLAMA3
        ),
        spread=0.35,
    ),
    "gguf-glm": case(model("glm", head_dim=8, rope_parameters=HALF), spread=0.35),
    "gguf-glm4": case(model("glm4", **GQA, head_dim=16, rms_norm_eps=0.02), spread=0.35),
    "gguf-glm4-plain": case(model("glm4", head_dim=8, attention_bias=False, tie_word_embeddings=True), spread=0.35),
    "gguf-hunyuan": case(model("hunyuan_v1_dense", **GQA, head_dim=6, tie_word_embeddings=True), spread=0.35),
    "gguf-ministral3": case(model("ministral3", head_dim=10, rope_parameters=GROWING), spread=0.35),
    "gguf-ministral3-plain": case(
        model(
            "ministral3",
            **GQA,
            head_dim=6,
            rope_parameters=dict(rope_theta=100.0, llama_4_scaling_beta=0.0, original_max_position_embeddings=3),
        ),
        more={"attention.temperature_scale": None},
        spread=0.35,
    ),
    "gguf-nemotron": case(model("nemotron", **BIASES), Type.F16, read_back=BIASES, spread=0.35),
    "gguf-nemotron-gqa": case(model("nemotron", **GQA, head_dim=8, rope_parameters=HALF), spread=0.35),
    "gguf-seed_oss": case(model("seed_oss", head_dim=10), spread=0.35),
    "gguf-seed_oss-out": case(
        model("seed_oss", **GQA, head_dim=6, attention_bias=False, attention_out_bias=True, mlp_bias=True), spread=0.35
    ),
    "gguf-starcoder2": case(starcoder2(), read_back={}, spread=0.35),
    "gguf-starcoder2-plain": case(starcoder2(use_bias=False, norm_epsilon=0.01, tie_word_embeddings=False)),
}

EXPERTS = {
    "gguf-olmoe": case(model("olmoe", **MOE, attention_bias=True)),
    "gguf-qwen2_moe": case(model("qwen2_moe", **QWEN)),
    "gguf-granitemoe": case(model("granitemoe", **GQA, **LOCAL, **FACTORS)),
    "gguf-granitemoeshared": case(model("granitemoeshared", **LOCAL, **FACTORS, shared_intermediate_size=20)),
    "gguf-dots1": drawn(case(model("dots1", **GQA, **ROUTED, first_k_dense_replace=1, norm_topk_prob=True))),
    "gguf-glm4_moe": drawn(case(model("glm4_moe", **ROUTED | GROUPS, use_qk_norm=True, attention_bias=True, head_dim=12))),
    "gguf-ernie4_5_moe": drawn(case(model("ernie4_5_moe", **ERNIE, moe_layer_interval=2))),
    "gguf-minimax_m2": drawn(case(model("minimax_m2", **LOCAL, head_dim=8, rotary_dim=4))),
    "gguf-hunyuan_v1_moe": case(model("hunyuan_v1_moe", **GQA, **HUNYUAN, num_experts=4, moe_topk=2, head_dim=10)),
}

CASES = STORED | {name: dataclasses.replace(case, stored=False) for name, case in (OTHERS | EXPERTS).items()}
