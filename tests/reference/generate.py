"""Writes `tests/fixtures`: what this crate must reproduce, computed by the libraries it is compared with.

    pip install torch transformers safetensors numpy gguf sentencepiece
    python tests/reference/generate.py

The folder is committed, so running the tests needs no Python. Seeds are fixed; a newer library may still change the last
digits of a reference.
"""

import shutil
from pathlib import Path

import blocks
import circuits
import models
import pickles
import smeared
import vocabularies

ROOT = Path(__file__).resolve().parent.parent / "fixtures"


def main():
    for name in [*models.CASES, "attn-only", smeared.NAME, "gguf", "pickle"]:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    (ROOT / "gguf").mkdir(parents=True)
    (ROOT / "pickle").mkdir()
    models.write(ROOT)
    pickles.write(ROOT / "pickle")
    smeared.write(ROOT)
    circuits.write(ROOT)
    blocks.write(ROOT / "gguf")
    vocabularies.write(ROOT / "gguf")
    size = sum(file.stat().st_size for file in ROOT.rglob("*") if file.is_file())
    print(f"{size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
