"""Models that read images as well, of which the reference is that of a text: Mistral 3, LLaVA, Qwen VL."""

import torch
from checkpoints import Case, config_of
from transformers import AutoConfig, AutoModelForImageTextToText

from families.kin import GQA, SIZES, YARN
from families.moe import LLAMA4

TEXT = SIZES | dict(head_dim=8)
VISION = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4)
PIXTRAL = VISION | dict(model_type="pixtral", head_dim=8)
OF_LLAMA = VISION | dict(
    model_type="llama4_vision_model", vision_output_dim=8, projector_input_dim=8, projector_output_dim=8
)
QWEN = dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=1, out_hidden_size=24, patch_size=4)
ROPE = dict(rope_type="default", rope_theta=500.0, mrope_section=[2, 1, 1])


def of_text(folder):
    """Runs the language part alone, for a model that asks for images in 5.24."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    def forward(ids):
        out = model.language_model(ids, output_attentions=True)
        return out.logits, out.attentions

    forward.source = "transformers"
    return model.config.get_text_config().vocab_size, forward


def case(kind, text, vision, rewrite=None, opened=None, **options):
    """A case of such a model."""

    def build():
        config = AutoConfig.for_model(kind, text_config=TEXT | text, vision_config=vision, **options)
        return AutoModelForImageTextToText.from_config(config, attn_implementation="eager")

    return Case(build, reader=AutoModelForImageTextToText, open=opened, rewrite=rewrite, stored=False, spread=0.35)


def beside(folder):
    """As the first files of Qwen VL: the keys of the text beside those of the images, and another name for the rotation."""
    with config_of(folder) as config:
        text = config.pop("text_config")
        rope = text.pop("rope_parameters")
        text |= {"rope_theta": rope["rope_theta"], "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]}}
        config |= text | {"model_type": config["model_type"]}
        del config["layer_types"], config["head_dim"]


GROWING = dict(llama_4_scaling_beta=0.7, original_max_position_embeddings=4)

CASES = {
    "mistral3": case("mistral3", dict(model_type="mistral", sliding_window=4), PIXTRAL, tie_word_embeddings=False),
    "mistral3-ministral3": case(
        "mistral3", dict(model_type="ministral3", rope_parameters=YARN | GROWING) | GQA, PIXTRAL, tie_word_embeddings=True
    ),
    "llava": case("llava", dict(model_type="llama", attention_bias=True), VISION | dict(model_type="clip_vision_model")),
    "llava-qwen2": case(
        "llava", dict(model_type="qwen2", tie_word_embeddings=True), VISION | dict(model_type="clip_vision_model")
    ),
    "llama4": case("llama4", dict(model_type="llama4_text", moe_layers=[1, 2]) | LLAMA4, OF_LLAMA, opened=of_text),
    "llama4-gqa": case("llama4", dict(model_type="llama4_text") | LLAMA4 | GQA, OF_LLAMA, opened=of_text),
    "qwen2_vl": case(
        "qwen2_vl", dict(rope_parameters=ROPE), dict(depth=1, embed_dim=8, hidden_size=24, num_heads=1, patch_size=4)
    ),
    "qwen2_5_vl": case("qwen2_5_vl", dict(rope_parameters=ROPE), QWEN, tie_word_embeddings=True),
    "qwen2_5_vl-beside": case("qwen2_5_vl", dict(rope_parameters=ROPE), QWEN, rewrite=beside),
    "qwen3_vl": case(
        "qwen3_vl",
        dict(rope_parameters=ROPE | dict(mrope_interleaved=True), attention_bias=True) | GQA,
        QWEN | dict(deepstack_visual_indexes=[0]),
    ),
}
