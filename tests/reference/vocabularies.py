"""GGUF vocabularies without weights, and the ids that the Python libraries give for awkward texts.

- `bpe.gguf`: byte-level BPE trained across word boundaries, so that only the splitting of the text, which differs from one
  `tokenizer.ggml.pre` to the next, keeps words apart. `zqzq` is in the vocabulary and no merge leads to it.
- `spm.gguf`: SentencePiece BPE with byte fallback.
- `tokenizers.json`: `{"bpe": {pre: {text: ids}}, "spm": {text: ids}}`, no BOS added.
"""

import io
import json
import re

import gguf
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Punctuation, Sequence, Split

from texts import SENTENCES, TEXTS

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LINES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*" + LINES
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*%s"
    r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*" + LINES
)
CJK = "[一-龥ࠀ-一가-\ud7ff]+"
DEEPSEEK_V3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*" + LINES
)


def split(*patterns):
    """Cuts by each pattern in turn, then maps bytes to letters."""
    cuts = [Split(Regex(pattern), "isolated") for pattern in patterns]
    return Sequence([*cuts, ByteLevel(add_prefix_space=False, use_regex=False)])


GPT2 = ByteLevel(add_prefix_space=False)
DIGITS = Sequence([Digits(individual_digits=True), GPT2])
FALCON = Sequence(
    [
        Punctuation("contiguous"),
        GPT2,
        Digits(individual_digits=False),
        Split(Regex("[0-9][0-9][0-9]"), "isolated"),
    ]
)
# pre: (splitting, NFC, whole words of the vocabulary need no merges), as the models' own tokenizer.json have it.
PRE = {
    "gpt-2": (GPT2, False, False),
    "mpt": (GPT2, True, False),
    "smollm": (DIGITS, False, False),
    "llama-bpe": (split(WORDS % r"\p{N}{1,3}"), False, True),
    "smaug-bpe": (split(WORDS % r"\p{N}{1,3}"), False, False),
    "qwen2": (split(WORDS % r"\p{N}"), True, False),
    "tekken": (split(CASED % ("", "", "")), False, True),
    "gpt-4o": (split(CASED % (CONTRACTIONS + "?", CONTRACTIONS + "?", "{1,3}")), False, False),
    "falcon": (FALCON, False, False),
    "deepseek-llm": (
        split(r"[\r\n]", r"\s?[\p{Lu}\p{Ll}\p{Lt}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", CJK, r"\p{N}+"),
        False,
        False,
    ),
    "qwen35": (
        split(
            CONTRACTIONS
            + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
            + LINES
        ),
        True,
        False,
    ),
    "bloom": (split(r" ?[^(\s|.,!?…。，、।۔،)]+"), False, False),
    "viking": (split(r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}"), False, False),
    "deepseek-coder": (split(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"), False, False),
    "deepseek-v3": (split(r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK_V3), False, False),
}
BPE_TEXTS = [*TEXTS, "special<|im_end|>s <|endoftext|> inside", "user <note> defined", "[UNUSED] [PAD]"]
SPM_TEXTS = [*TEXTS, "special<s>s </s> inside", "user<sep> defined", "<0x41> <unk>"]


def train_bpe():
    """The vocabulary (token by id) and merges of a BPE trained on whole lines."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    lines = 2 * (SENTENCES + [text for text in TEXTS if "zqzq" not in text])
    alphabet = sorted(ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=alphabet, max_token_length=12, show_progress=False, min_frequency=2
    )
    tok.train_from_iterator(lines, trainer)
    model = json.loads(tok.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return tokens, [tuple(pair) for pair in model["merges"]]


def write_bpe(folder):
    """Writes `bpe.gguf`; returns the ids of each text for each `pre`."""
    tokens, merges = train_bpe()
    assert "zqzq" not in tokens
    kinds = [NORMAL] * len(tokens) + [NORMAL, CONTROL, CONTROL, USER, UNUSED]
    tokens += ["zqzq", "<|endoftext|>", "<|im_end|>", "<note>", "[UNUSED]"]
    writer = gguf.GGUFWriter(folder / "bpe.gguf", "none")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    finish(writer)

    expected = {}
    vocab = {token: at for at, token in enumerate(tokens)}
    for pre, (pre_tokenizer, nfc, ignore_merges) in PRE.items():
        tok = Tokenizer(models.BPE(vocab, merges, ignore_merges=ignore_merges))
        tok.pre_tokenizer = pre_tokenizer
        tok.decoder = decoders.ByteLevel()
        if nfc:
            tok.normalizer = normalizers.NFC()
        tok.add_special_tokens([AddedToken(t, normalized=False) for t in ("<|endoftext|>", "<|im_end|>")])
        tok.add_tokens([AddedToken("<note>", normalized=False)])
        expected[pre] = {text: tok.encode(text, add_special_tokens=False).ids for text in BPE_TEXTS}
    return expected


def write_spm(folder):
    """Writes `spm.gguf`; returns the ids of each text."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=480,
        byte_fallback=True,
        character_coverage=0.98,
        split_digits=True,
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        user_defined_symbols=["<sep>"],
        minloglevel=2,
    )
    spm = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(spm.get_piece_size())
    kind_of = [
        (spm.is_unknown, UNKNOWN),
        (spm.is_byte, BYTE),
        (spm.is_unused, UNUSED),
        (lambda at: spm.id_to_piece(at) == "<sep>", USER),
        (spm.is_control, CONTROL),
    ]
    writer = gguf.GGUFWriter(folder / "spm.gguf", "none")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([spm.id_to_piece(at) for at in ids])
    writer.add_token_scores([spm.get_score(at) for at in ids])
    writer.add_token_types([next((kind for test, kind in kind_of if test(at)), NORMAL) for at in ids])
    writer.add_bos_token_id(spm.bos_id())
    writer.add_eos_token_id(spm.eos_id())
    writer.add_unk_token_id(spm.unk_id())
    writer.add_add_bos_token(True)
    finish(writer)

    def encode(text):
        # The library reads no control tokens out of a text; both converters of such vocabularies start afresh after one.
        parts = re.split("(<s>|</s>|<sep>|<unk>)", text)
        ids = [[spm.piece_to_id(part)] if at % 2 else spm.encode(part) for at, part in enumerate(parts)]
        return sum(ids, [])

    return {text: encode(text) for text in SPM_TEXTS}


def finish(writer):
    """Writes a file that has metadata and no tensors."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write(folder):
    """Writes both vocabularies and `tokenizers.json`."""
    expected = {"bpe": write_bpe(folder), "spm": write_spm(folder)}
    text = json.dumps(expected, ensure_ascii=True, indent=None, separators=(",", ":"))
    (folder / "tokenizers.json").write_text(text.replace("},", "},\n") + "\n")
