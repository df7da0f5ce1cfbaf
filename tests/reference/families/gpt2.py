"""GPT-2, with and without scores divided by the layer's number, with an unembedding of its own."""

from checkpoints import Case, other_head
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

GPT2 = dict(vocab_size=96, n_positions=32, n_embd=36, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)


def gpt2(**options):
    return lambda: GPT2LMHeadModel(GPT2Config(**GPT2 | options))


def without_prefix(folder):
    """Renames the tensors as files of the model without its unembedding have them."""
    file = folder / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


CASES = {
    "gpt2": Case(gpt2(vocab_size=320), length=15, seed=4),
    "gpt2-inverse": Case(
        gpt2(
            n_layer=3,
            n_inner=50,
            activation_function="gelu",
            scale_attn_by_inverse_layer_idx=True,
            tie_word_embeddings=False,
        ),
        length=12,
        seed=5,
    ),
    # Tied by default, with another unembedding in the file.
    "gpt2-other-head": Case(
        gpt2(vocab_size=64, n_embd=24, n_layer=1), length=11, rewrite=other_head
    ),
    "gpt2-bare": Case(gpt2(), stored=False, rewrite=without_prefix),
}
