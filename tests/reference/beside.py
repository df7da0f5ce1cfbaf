"""Folders with a tokenizer and odd small files beside it, and the ids that `AutoTokenizer` gives.

`tokenizers/beside.json` is a list of folders: `files` are those beside the `tokenizer.json` of `gpt2`, and `ids` has the ids of
each text with what the tokenizer puts around it.
"""

import json
import shutil
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

TEXTS = [
    "Hello<|im_start|>user",
    "  Hi <pad>x",
    " Hi",
    "<|endoftext|>Hi <|im_end|>  y",
    "a.b , c 'll\n\n<|im_end|> <|im_start|>naïve 🙂",
]
GENERIC = {"tokenizer_class": "PreTrainedTokenizerFast"}
START, END = "<|im_start|>", "<|im_end|>"


def token(content, **more):
    flags = dict.fromkeys(["lstrip", "rstrip", "normalized", "single_word"], False)
    return {"content": content, "special": True} | flags | more


LISTED = {"added_tokens_decoder": {"320": token(START), "321": token(END)}}
SPECIALS = {"bos_token": START, "eos_token": {"content": END, "lstrip": False, "rstrip": False}, "pad_token": "<pad>"}
# Of each family: what stands beside its `config.json`.
FOLDERS = [
    {},
    {"tokenizer_config.json": LISTED},
    {"tokenizer_config.json": GENERIC | LISTED},
    {"tokenizer_config.json": GENERIC | {"added_tokens_decoder": {"320": token(START, rstrip=True, lstrip=True)}}},
    {"tokenizer_config.json": GENERIC, "added_tokens.json": {START: 320, END: 321}},
    {"added_tokens.json": {END: 320, START: 321}},
    # The list goes before the other files.
    {
        "tokenizer_config.json": {"added_tokens_decoder": {"320": token(START)}},
        "added_tokens.json": {END: 321},
        "special_tokens_map.json": {"pad_token": "<pad>"},
    },
    {"tokenizer_config.json": GENERIC, "special_tokens_map.json": SPECIALS},
    {"tokenizer_config.json": GENERIC | {"pad_token": "<|x|>"}, "special_tokens_map.json": SPECIALS},
    {"tokenizer_config.json": GENERIC | {"additional_special_tokens": [END, START], "image_token": "<pad>"}},
    {"tokenizer_config.json": GENERIC | {"extra_special_tokens": [START], "additional_special_tokens": [END]}},
    {"tokenizer_config.json": {"add_prefix_space": True, "add_bos_token": True, "bos_token": "<|endoftext|>"}},
    {"tokenizer_config.json": {"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True}},
    {
        "tokenizer_config.json": GENERIC
        | {"add_prefix_space": True, "add_eos_token": True, "clean_up_tokenization_spaces": True}
    },
]


def folder(base, files):
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        shutil.copy(base, place / "tokenizer.json")
        for file, content in files.items():
            (place / file).write_text(json.dumps(content))
        read = AutoTokenizer.from_pretrained(place)
        return {text: read.encode(text) for text in TEXTS}


def write(fixtures):
    base = fixtures / "gpt2" / "tokenizer.json"
    cases = []
    for family in ["gpt2", "llama"]:
        for beside in FOLDERS:
            files = {"config.json": {"model_type": family}} | beside
            cases.append({"files": files, "ids": folder(base, files)})
    text = json.dumps(cases, ensure_ascii=False, separators=(",", ":")).replace('{"files"', '\n{"files"')
    (fixtures / "tokenizers" / "beside.json").write_text(text + "\n")


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[1] / "fixtures")
