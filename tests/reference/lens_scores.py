"""Scores of heads as TransformerLens computes them, with the patterns that they are of.

Its detection patterns are masks over attention; its score is the share of all attention that a mask keeps, here taken back
to the mean over the rows that count. `tl` is the diagonal of its demonstrations.
"""

import torch
from checkpoints import randomise
from safetensors.torch import save_file

NAME = "lens-scores.safetensors"
CONFIG = dict(n_layers=1, d_model=24, n_heads=3, d_head=8, n_ctx=40, d_vocab=40, attn_only=True, device="cpu")


@torch.no_grad()
def write(root):
    """Writes ids and patterns [heads, T, T] of `r r` with and without BOS and of `r r r r` with it, and the scores."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens import head_detector as tl

    model = HookedTransformer(HookedTransformerConfig(**CONFIG)).eval()
    randomise(model, 3, 0.4)
    r = torch.arange(5, 13)
    bos = torch.tensor([0])

    def pattern(ids):
        return model.run_with_cache(ids[None])[1]["pattern", 0][0]

    def score(ids, pattern, mask, rows):
        options = dict(exclude_bos=False, exclude_current_token=False, error_measure="mul")
        shares = [tl.compute_head_attention_similarity_score(head, mask, **options) for head in pattern]
        return torch.tensor(shares) * len(ids) / rows

    twice, bare, often = torch.cat([bos, r, r]), torch.cat([r, r]), torch.cat([bos, r[:5], r[:5], r[:5], r[:5]])
    of_twice, of_bare, of_often = pattern(twice), pattern(bare), pattern(often)
    length, total = len(r), len(twice)
    tensors = {
        "twice": of_twice,
        "bare": of_bare,
        "often": of_often,
        "induction": score(twice, of_twice, tl.get_induction_head_detection_pattern(twice[None]), length),
        "duplicate": score(twice, of_twice, tl.get_duplicate_token_head_detection_pattern(twice[None]), length),
        "previous": score(twice, of_twice, tl.get_previous_token_head_detection_pattern(twice[None]), total - 1),
        "prefix": score(often, of_often, tl.get_induction_head_detection_pattern(often[None]), 15),
        "tl": of_bare.diagonal(dim1=-2, dim2=-1, offset=1 - length).mean(-1),
    }
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, root / NAME)
