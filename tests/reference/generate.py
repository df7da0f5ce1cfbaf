"""Writes `tests/fixtures`: what this crate must reproduce, computed by the libraries it is compared with.

    pip install -r tests/reference/requirements.txt
    python tests/reference/generate.py
    python tests/reference/generate.py --everything FOLDER

The folder of fixtures is committed, so running the tests needs no Python. The second form writes every checkpoint of every
family in every setting to a folder of its own, more than are committed; ATTNSCOPE_REFERENCES names it to the tests. Seeds are
fixed; a newer library may still change the last digits of a reference.
"""

import argparse
import shutil
from pathlib import Path

import adapters
import beside
import blocks
import checkpoints
import circuits
import lens_scores
import nanogpt
import parts
import pickles
import quantised
import smeared
import tokenizer_files
import vocabularies

ROOT = Path(__file__).resolve().parent.parent / "fixtures"


def fixtures():
    own = ["attn-only", smeared.NAME, *nanogpt.NAMES, "gguf", "pickle", "quantised", "adapters", "tokenizers", parts.NAME]
    for name in [*checkpoints.cases(), *own]:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    (ROOT / "gguf").mkdir(parents=True)
    (ROOT / "pickle").mkdir()
    checkpoints.write(ROOT)
    adapters.write(ROOT)
    pickles.write(ROOT / "pickle")
    quantised.write(ROOT / "quantised")
    nanogpt.write(ROOT)
    smeared.write(ROOT)
    circuits.write(ROOT)
    lens_scores.write(ROOT)
    blocks.write(ROOT / "gguf")
    parts.write(ROOT)
    vocabularies.write(ROOT / "gguf")
    tokenizer_files.write(ROOT / "tokenizers")
    checkpoints.tokenizer(320).save(str(ROOT / "gpt2" / "tokenizer.json"))
    beside.write(ROOT)
    size = sum(file.stat().st_size for file in ROOT.rglob("*") if file.is_file())
    print(f"{size / 1e6:.2f} MB")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--everything", type=Path, metavar="FOLDER")
    arguments.add_argument("--only", metavar="TEXT", help="with --everything: cases whose names begin so")
    options = arguments.parse_args()
    if options.everything:
        checkpoints.write(options.everything, everything=True, only=options.only or "")
    else:
        fixtures()
