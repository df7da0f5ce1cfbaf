"""Writes `src/checkpoint/tokenizer/classes.json`: which class of transformers reads the tokenizer of a model, and how it cuts.

    python tests/reference/classes.py           # writes the file
    python tests/reference/classes.py --check   # says whether the file is what would be written

- `classes`: those that keep of a `tokenizer.json` vocabulary, merges and post-processor, with the steps that they put in the
  place of the others;
- `registered`: the class of each kind of model, where it is one of them; null where it is the one that takes the file as it is;
- `corrected`: kinds whose registered class goes before one that the files declare.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import transformers
from transformers.models.auto.tokenization_auto import MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS, TOKENIZER_MAPPING_NAMES

FILE = Path(__file__).resolve().parents[2] / "src/checkpoint/tokenizer/classes.json"
CLASSES = ["GPT2", "CodeGen", "GPTNeoX", "Qwen2", "Qwen3_5", "Cohere", "Gemma", "Llama"]
GENERIC = {"TokenizersBackend", "PythonBackend", "PreTrainedTokenizer", "MistralCommonBackend"}


def steps(name):
    backend = json.loads(getattr(transformers, name)().backend_tokenizer.to_str())
    flags = {key: backend["model"][key] for key in ["fuse_unk", "byte_fallback", "ignore_merges"]}
    return {key: backend[key] for key in ["normalizer", "pre_tokenizer"]} | {"model": flags}


def table():
    classes = {f"{name}Tokenizer": steps(f"{name}Tokenizer") for name in CLASSES}
    named = {kind: name.removesuffix("Fast") for kind, name in TOKENIZER_MAPPING_NAMES.items() if name}
    registered = {kind: None if name in GENERIC else name for kind, name in sorted(named.items())}
    registered = {kind: name for kind, name in registered.items() if name is None or name in classes}
    corrected = sorted(MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS & {kind for kind, name in registered.items() if name})
    return {
        "transformers": version("transformers"),
        "classes": classes,
        "registered": registered,
        "corrected": corrected,
    }


def main():
    text = json.dumps(table(), ensure_ascii=True, indent=1) + "\n"
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text() != text:
            sys.exit(f"{FILE} is not what transformers {version('transformers')} says: run {sys.argv[0]}")
    else:
        FILE.write_text(text)


if __name__ == "__main__":
    main()
