"""Folders with a tokenizer and odd small files beside it, and the ids that `AutoTokenizer` gives.

`tokenizers/beside.json` is a list of folders: `base` is a `tokenizer.json` among the fixtures, `steps` what is other in it,
`files` are those beside it, and `ids` has the ids of each text with what the tokenizer puts around it.

`tokenizers/pieces.json` is a base: BPE with byte fallback as the conversion of Llama 2 has it.
"""

import json
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

import texts
from vocabularies import WORDS

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


# What cuts text in the `tokenizer.json` of published models.
PREPEND = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
CUT = {"type": "Split", "pattern": {"Regex": WORDS % r"\p{N}{1,3}"}, "behavior": "Isolated", "invert": False}
OLD = {"normalizer": PREPEND, "pre_tokenizer": None}
NEW = {"normalizer": None, "pre_tokenizer": METASPACE}
LLAMA3 = {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [CUT, BYTES | {"use_regex": False}]}}
PREFIXED = {"pre_tokenizer": BYTES | {"add_prefix_space": True}}
LLAMA = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
# Base, steps, kind of model, and what `tokenizer_config.json` says: which class reads the file, and what it makes of it.
READERS = [
    *[("pieces", OLD, "llama", LLAMA | more) for more in [{}, {"legacy": False}, {"legacy": True}]],
    ("pieces", OLD, "llama", LLAMA | {"add_prefix_space": False}),
    ("pieces", NEW, "llama", LLAMA | {"legacy": True}),
    ("pieces", NEW, "llama", LLAMA | {"tokenizer_class": "LlamaTokenizerFast", "add_prefix_space": False}),
    ("pieces", OLD, "llama", {"bos_token": "<s>"}),
    ("pieces", OLD, "llama", GENERIC | {"add_prefix_space": False}),
    ("pieces", OLD, "mistral", LLAMA),
    ("pieces", NEW, "mixtral", LLAMA | {"legacy": True}),
    ("pieces", OLD, "phi3", LLAMA | {"legacy": True}),
    ("pieces", OLD, "gemma", {"tokenizer_class": "GemmaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}),
    ("gpt2", LLAMA3, "llama", GENERIC),
    ("gpt2", LLAMA3, "llama", {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<|endoftext|>", "legacy": True}),
    ("gpt2", LLAMA3, "qwen2", {"tokenizer_class": "LlamaTokenizerFast"}),
    ("gpt2", LLAMA3, "qwen3", {"tokenizer_class": "LlamaTokenizerFast"}),
    ("gpt2", LLAMA3, "qwen3", GENERIC),
    ("gpt2", PREFIXED, "phi", {"tokenizer_class": "CodeGenTokenizer"}),
    ("gpt2", PREFIXED, "starcoder2", {"tokenizer_class": "GPT2TokenizerFast"}),
    ("gpt2", PREFIXED, "granite", {"tokenizer_class": "GPT2Tokenizer"}),
    ("gpt2", PREFIXED, "olmo2", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False}),
    ("gpt2", LLAMA3, "gpt_neox", {"tokenizer_class": "GPTNeoXTokenizerFast"}),
    ("gpt2", {}, "olmo", {}),
    ("gpt2", {}, "stablelm", {"tokenizer_class": "GPTNeoXTokenizerFast"}),
    ("gpt2", LLAMA3, "cohere", {"tokenizer_class": "CohereTokenizerFast"}),
    ("gpt2", LLAMA3, "bloom", {"tokenizer_class": "BloomTokenizerFast"}),
]
READ_TEXTS = [*texts.TEXTS[1:11], "</s>s <s> in", "<|endoftext|> y", "a ▁ b"]


def write_pieces(path):
    """Writes BPE trained on text whose spaces are `▁`, with byte fallback and a BOS that comes first."""
    special = ["<s>", "</s>", "<unk>"]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    letters = sorted({letter for text in texts.SENTENCES for letter in text if letter < "\u0250"} | {"▁"})
    trainer = trainers.BpeTrainer(
        vocab_size=520, special_tokens=special + fallback, limit_alphabet=len(letters), initial_alphabet=letters
    )
    tokenizer.train_from_iterator(texts.SENTENCES * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    written = json.loads(tokenizer.to_str())
    written["added_tokens"] = [token for token in written["added_tokens"] if token["content"] in special]
    path.write_text(json.dumps(written | OLD, ensure_ascii=False, separators=(",", ":")) + "\n")


def folder(base, files, steps=None, texts=TEXTS):
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        tokenizer = json.loads(base.read_text()) | (steps or {})
        (place / "tokenizer.json").write_text(json.dumps(tokenizer))
        for file, content in files.items():
            (place / file).write_text(json.dumps(content))
        read = AutoTokenizer.from_pretrained(place)
        return {text: read.encode(text) for text in texts}


def write(fixtures):
    bases = {"gpt2": fixtures / "gpt2" / "tokenizer.json", "pieces": fixtures / "tokenizers" / "pieces.json"}
    write_pieces(bases["pieces"])
    cases = []
    for family in ["gpt2", "llama"]:
        for beside in FOLDERS:
            files = {"config.json": {"model_type": family}} | beside
            cases.append({"base": "gpt2", "steps": {}, "files": files, "ids": folder(bases["gpt2"], files)})
    for base, steps, family, said in READERS:
        files = {"config.json": {"model_type": family}, "tokenizer_config.json": said}
        ids = folder(bases[base], files, steps, READ_TEXTS)
        cases.append({"base": base, "steps": steps, "files": files, "ids": ids})
    text = json.dumps(cases, ensure_ascii=False, separators=(",", ":")).replace('{"base"', '\n{"base"')
    (fixtures / "tokenizers" / "beside.json").write_text(text + "\n")


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[1] / "fixtures")
