"""Tokenizers in the files that checkpoints have when they have no `tokenizer.json`, and the ids that Python gives.

- `vocab.json`, `merges.txt`: byte-level BPE trained across word boundaries, with `tokenizer_config.json`,
  `special_tokens_map.json` and `added_tokens.json` beside them, as OPT has them.
- `ranks.tiktoken`: the same tokens as tiktoken keeps them. The vocabularies that are known cut texts by different patterns
  and have different special tokens; here these stand above the few ranks as they stand above the many.
- `*.model`: SentencePiece. `llama` is BPE with byte fallback, `gemma` BPE without a space in front and with user-defined runs
  of spaces and newlines, `t5` unigram with a table of characters, `suffix` unigram with the space behind and byte fallback.
  A few pieces of each are marked as unused.
- `t5.gguf`: the vocabulary of `t5.model`.
- `tokenizers.json`: `{name: {text: ids}}`, no BOS added.
"""

import base64
import io
import json
import re
import shutil
import tempfile
import unicodedata
from pathlib import Path

import gguf
import sentencepiece
import tiktoken
from sentencepiece import sentencepiece_model_pb2
from tiktoken_ext import openai_public
from tokenizers.pre_tokenizers import ByteLevel
from transformers import GPT2Tokenizer, Qwen2Tokenizer

from texts import SENTENCES, TEXTS
from vocabularies import WORDS, finish, train_bpe

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
FILE_TEXTS = [*TEXTS, "ends in lines \n\n  ", "special</s>s <s> inside", "an <image>added one"]
RANK_TEXTS = [*TEXTS, "ends in a line\n  ", "a<|endoftext|>b", "<|im_start|> <|eot_id|>", "<|extra_204|>"]
PIECE_TEXTS = [
    *TEXTS,
    "user<sep> defined<sep><sep>s",
    "a\n\n\nb    c     d",
    "Ｆｕｌｌ ｗｉｄｔｈ ﬁne … e\u0301\u0301 \u00ad\t tab",
    "  both ends  ",
    "\u3000",
    "control</s>s <s> inside",
    # What a user-defined piece is worth decides between two ways to cut three newlines.
    "<sep>🙂then\n\n\ncomes",
]
# What is rewritten: full-width letters, a ligature, one and two accents on one letter, a character that vanishes, spaces.
RULES = {chr(0xFEE0 + ord(c)): c for c in map(chr, range(ord("A"), ord("z") + 1)) if c.isalpha()} | {
    "\ufb01": "fi",
    "\u2026": "...",
    "e\u0301": "é",
    "e\u0301\u0301": "ê",
    "\u00ad": "",
    "\t": " ",
    "\u3000": " ",
}


def write_files(folder):
    """Writes `vocab.json` and what belongs to it; returns the ids of each text, by the class that reads it."""
    tokens, merges = train_bpe()
    vocab = {token: at for at, token in enumerate([*SPECIAL, *tokens])}
    dump(folder / "vocab.json", vocab)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    dump(folder / "added_tokens.json", {"<image>": len(vocab) + 3})
    named = {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    dump(folder / "special_tokens_map.json", named | {"additional_special_tokens": ["<s>"]})
    dump(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True} | named)

    expected = {}
    for name, kind in [("GPT2Tokenizer", GPT2Tokenizer), ("Qwen2Tokenizer", Qwen2Tokenizer)]:
        slow = kind(vocab=vocab, merges=merges, **named, extra_special_tokens=["<s>"])
        ids = {}
        for text in FILE_TEXTS:
            # The library numbers added tokens on its own, without the gap that is in the file.
            parts = [slow.encode(part, add_special_tokens=False) for part in text.split("<image>")]
            ids[text] = sum(parts[1:], parts[0] + [len(vocab) + 3]) if len(parts) > 1 else parts[0]
        expected[name] = ids
    return expected


def write_ranks(folder):
    """Writes `ranks.tiktoken`; returns the ids of each text for each vocabulary."""
    tokens, _ = train_bpe()
    byte_of = {letter: byte for byte, letter in bytes_by_letter().items()}
    ranks = {bytes(byte_of[letter] for letter in token): at for at, token in enumerate(tokens)}
    lines = (f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items())
    (folder / "ranks.tiktoken").write_text("".join(lines))

    llama = ["<|begin_of_text|>", "<|end_of_text|>", *(f"<|reserved_special_token_{at}|>" for at in range(4))]
    llama += ["<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_4|>", "<|eot_id|>"]
    llama += [f"<|reserved_special_token_{at}|>" for at in range(5, 251)]
    qwen = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{at}|>" for at in range(205))]
    above = {
        "llama3": (WORDS % r"\p{N}{1,3}", dict(zip(llama, range(256)))),
        "qwen": (WORDS % r"\p{N}", dict(zip(qwen, range(208)))),
    }
    # What the library itself says of its vocabularies, without the ranks that it would fetch.
    openai_public.load_tiktoken_bpe = lambda *_, **__: {}
    sizes = {"cl100k_base": 100256, "o200k_base": 199998, "o200k_harmony": 199998, "r50k_base": 50256}
    for name, size in sizes.items():
        said = openai_public.ENCODING_CONSTRUCTORS[name]()
        above[name] = (said["pat_str"], {token: at - size for token, at in said["special_tokens"].items()})
    expected = {}
    for name, (pattern, specials) in above.items():
        specials = {token: at + len(ranks) for token, at in specials.items()}
        encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials)
        form = (lambda text: unicodedata.normalize("NFC", text)) if name == "qwen" else str
        expected[name] = {text: encoding.encode(form(text), allowed_special="all") for text in RANK_TEXTS}
    return expected


def bytes_by_letter():
    """The letter of each byte in a byte-level vocabulary."""
    letters = sorted(ByteLevel.alphabet())
    plain = [letter for letter in letters if ord(letter) < 256]
    rest = [byte for byte in range(256) if chr(byte) not in plain]
    return {ord(letter): letter for letter in plain} | dict(zip(rest, (c for c in letters if ord(c) > 255)))


def write_pieces(folder):
    """Writes the SentencePiece models; returns the ids of each text for each of them."""
    rules = Path(tempfile.mkdtemp()) / "rules.tsv"
    codes = lambda text: " ".join(f"{ord(c):X}" for c in text)
    rules.write_text("".join(f"{codes(old)}\t{codes(new)}\n" for old, new in RULES.items()))
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    fallback = {"byte_fallback": True, "character_coverage": 0.98}
    models = {
        "llama": {"model_type": "bpe", "user_defined_symbols": ["<sep>"], **plain, **fallback},
        "gemma": {
            "model_type": "bpe",
            "add_dummy_prefix": False,
            "user_defined_symbols": ["<sep>", "▁▁", "▁▁▁▁", "\n", "\n\n"],
            **plain,
            **fallback,
        },
        "t5": {"model_type": "unigram", "normalization_rule_tsv": str(rules), "character_coverage": 0.98},
        "suffix": {
            "model_type": "unigram",
            "treat_whitespace_as_suffix": True,
            "user_defined_symbols": ["<sep>"],
            **plain,
            **fallback,
        },
    }
    expected = {}
    for name, settings in models.items():
        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES * 3),
            model_writer=written,
            vocab_size=430 if settings.get("byte_fallback") else 220,
            split_digits=True,
            allow_whitespace_only_pieces=True,
            hard_vocab_limit=False,
            minloglevel=2,
            **settings,
        )
        model = sentencepiece_model_pb2.ModelProto.FromString(written.getvalue())
        model.normalizer_spec.ClearField("normalization_rule_tsv")
        long = [piece for piece in model.pieces if piece.type == piece.NORMAL and len(piece.piece) > 1]
        for piece in long[5::9]:
            piece.type = piece.UNUSED
        (folder / f"{name}.model").write_bytes(model.SerializeToString())
        spm = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())

        if name == "t5":
            write_gguf(folder / "t5.gguf", model)

        def encode(text):
            # The library reads no control tokens out of a text; here a text starts afresh after one.
            parts = re.split("(<s>|</s>|<unk>)", text)
            ids = [[spm.piece_to_id(part)] if at % 2 else spm.encode(part) for at, part in enumerate(parts)]
            return sum(ids, [])

        expected[name] = {text: encode(text) for text in PIECE_TEXTS}
    shutil.rmtree(rules.parent)
    return expected


def write_gguf(path, model):
    """Writes a vocabulary as the converter of llama.cpp does."""
    writer = gguf.GGUFWriter(path, "none")
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece.piece for piece in model.pieces])
    writer.add_token_scores([piece.score for piece in model.pieces])
    writer.add_token_types([piece.type for piece in model.pieces])
    writer.add_add_space_prefix(model.normalizer_spec.add_dummy_prefix)
    writer.add_remove_extra_whitespaces(model.normalizer_spec.remove_extra_whitespaces)
    writer.add_precompiled_charsmap(model.normalizer_spec.precompiled_charsmap)
    finish(writer)


def dump(path, value):
    """Writes JSON on one line."""
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def write(folder):
    """Writes every file and `tokenizers.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = write_files(folder) | write_ranks(folder) | write_pieces(folder)
    text = json.dumps(expected, ensure_ascii=True, separators=(",", ":"))
    (folder / "tokenizers.json").write_text(text.replace("},", "},\n") + "\n")
