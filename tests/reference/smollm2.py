"""Writes tests/fixtures/smollm2/reference.json: what transformers computes from SmolLM2's GGUF file.

    python tests/reference/smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf sequences.json

`sequences.json` holds the benchmark sequences as lists of ids (the test prints them when they have changed). Float32,
eager attention. The weights are widened by transformers, so nothing here is our own but the formulas of the scores.
"""

import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM

PROMPT = "Doctor Gigamuru went to the store because Doctor"
HEADS = ["0.0", "11.1", "16.0", "17.3", "18.6", "29.8"]


def main() -> None:
    gguf, sequences = pathlib.Path(sys.argv[1]), json.loads(pathlib.Path(sys.argv[2]).read_text())
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    # Checked by hand against the tokenizer of the published model: one token a word, the name in three.
    ids = json.loads(sys.argv[3])
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_attentions=True)
        top = out.logits[0, -1].topk(5)
        rows = {}
        for head in HEADS:
            layer, number = map(int, head.split("."))
            rows[head] = [round(x, 6) for x in out.attentions[layer][0, number, -1].tolist()]
        length = (len(sequences[0]) - 1) // 2
        patterns = model(torch.tensor(sequences), output_attentions=True).attentions
    scores = {"induction": [], "previous": [], "duplicate": [], "sink": []}
    errors = {name: [] for name in scores}
    for layer in patterns:
        second = torch.arange(1 + length, 1 + 2 * length)
        later = torch.arange(1, 1 + 2 * length)
        entries = {
            "induction": layer[:, :, second, second - length + 1],
            "previous": layer[:, :, later, later - 1],
            "duplicate": layer[:, :, second, second - length],
            "sink": layer[:, :, later, 0],
        }
        for name, values in entries.items():
            scores[name] += [round(x, 6) for x in values.mean(dim=(0, 2)).tolist()]
            draws = values.double().mean(dim=2).numpy()
            errors[name] += [round(x, 8) for x in (draws.std(axis=0, ddof=1) / len(draws) ** 0.5).tolist()]
    reference = {
        "prompt": PROMPT,
        "ids": ids,
        "top": [[int(i), round(float(x), 5)] for i, x in zip(top.indices, top.values)],
        "rows": rows,
        "sequences": sequences,
        **scores,
        "errors": errors,
    }
    path = pathlib.Path(__file__).parent.parent / "fixtures" / "smollm2" / "reference.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(reference) + "\n")


if __name__ == "__main__":
    main()
