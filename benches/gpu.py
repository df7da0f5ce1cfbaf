#!/usr/bin/env python3
"""What benches/gpu.sh runs: numbers against the committed references, times beside transformers and beside the floor.

The floor of a pass is the larger of two times: the bytes of the weights over the card's bandwidth, and the operations of the
products over its rate in bf16. Both rates are measured first, on this card. Times are medians; the peer is transformers in
bf16 with eager attention on the same card, as a person would write it.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"

# Llama shapes: layers, width, heads, KV heads, head size, inner width, vocabulary, tied ends.
SHAPES = {
    "135M": (30, 576, 9, 3, 64, 1536, 49152, True),
    "1B": (16, 2048, 32, 8, 64, 8192, 128256, True),
    "8B": (32, 4096, 32, 8, 128, 14336, 128256, False),
}

# Sequences that `rank` measures: four of 101 tokens, and one each for chance, prefix and stripe.
RANKED = 7 * 101
TOKENS = 2000

# What the peer does, as a person would write it: the same work, nothing more.
PEER = """
import json, sys, time, torch
started = time.perf_counter()
from transformers import AutoModelForCausalLM
task, folder, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_grad_enabled(False)
began = time.perf_counter()
network = AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.bfloat16, attn_implementation="eager", device_map="cuda").eval()
torch.cuda.synchronize()
times = {"load": [time.perf_counter() - began]}

def timed(name, work, rounds):
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    times[name] = seconds

def rank():
    length = 50
    block = torch.stack([torch.randperm(20000)[:length] + 100 for _ in range(4)])
    ids = torch.cat([torch.ones(4, 1, dtype=torch.long), block, block], 1).cuda()
    scores = [layer.diagonal(offset=1 - length, dim1=-2, dim2=-1)[..., 2:].float().mean((0, 2))
              for layer in network(ids, output_attentions=True).attentions]
    return torch.stack(scores).flatten().topk(3)

if task == "rank":
    print(rank())
elif task == "first":
    ids = torch.arange(100, 115)[None].cuda()
    print(network(ids, output_attentions=True).attentions[0][0, 0, -1].tolist())
else:
    timed("rank", rank, 4)
    ids = (torch.arange(tokens)[None] * 37 % 40000).cuda()
    kept = {}
    def prompt():
        kept.clear()
        kept["out"] = network(ids, output_attentions=True, use_cache=True)
    timed("prompt", prompt, 3)
    timed("one head's pattern", lambda: kept["out"].attentions[len(kept["out"].attentions) // 2][0, 0].float().cpu(), 4)
    cache = kept["out"].past_key_values
    def step():
        cache.crop(tokens)
        network(ids[:, :1], past_key_values=cache, use_cache=True, output_attentions=True)
    timed("step", step, 6)
    kept.clear()
    attention = network.model.layers[network.config.num_hidden_layers // 2].self_attn
    def silence(module, arguments):
        hidden = arguments[0].clone()
        size = network.config.head_dim
        hidden[..., :size] = hidden[..., :size].mean(1, keepdim=True)
        return (hidden,)
    hook = attention.o_proj.register_forward_pre_hook(silence)
    timed("ablation", lambda: network(ids, output_attentions=True), 3)
    hook.remove()
    print(json.dumps(times))
"""


def card():
    """The card and what it can do: bytes per second from and to its memory and from the host, operations per second."""
    import torch

    def rate(work, amount, rounds=5):
        work()
        torch.cuda.synchronize()
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            work()
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        return amount / statistics.median(seconds)

    source = torch.empty(1 << 30, dtype=torch.int8, device="cuda")
    target = torch.empty_like(source)
    pinned = torch.empty(1 << 28, dtype=torch.int8).pin_memory()
    a = torch.randn(8192, 8192, device="cuda")
    half = a.bfloat16()
    found = {
        "card": torch.cuda.get_device_name(),
        "driver": subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
        ).stdout.strip(),
        "torch": torch.__version__,
        "bytes per second in memory": rate(lambda: target.copy_(source), 2 * source.numel()),
        "bytes per second from host": rate(lambda: target[: pinned.numel()].copy_(pinned), pinned.numel()),
        "bf16 operations per second": rate(lambda: half @ half, 2 * 8192**3),
        "f32 operations per second": rate(lambda: a @ a, 2 * 8192**3),
    }
    del source, target, a, half
    torch.cuda.empty_cache()
    return found


def checkpoint(folder, shape):
    """A checkpoint of that shape with random weights in bf16."""
    import torch
    from safetensors.torch import save_file

    layers, width, heads, kv_heads, size, inner, vocabulary, tied = shape
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": layers, "hidden_size": width,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": size, "intermediate_size": inner,
        "vocab_size": vocabulary, "tie_word_embeddings": tied, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))

    def random(*sides):
        return (torch.randn(*sides, device="cuda", dtype=torch.bfloat16) * 0.02).cpu()

    whole = {"model.embed_tokens.weight": random(vocabulary, width), "model.norm.weight": torch.ones(width).bfloat16()}
    if not tied:
        whole["lm_head.weight"] = random(vocabulary, width)
    parts = [whole]
    for layer in range(layers):
        name = f"model.layers.{layer}."
        tensors = {
            "self_attn.q_proj.weight": random(heads * size, width), "self_attn.k_proj.weight": random(kv_heads * size, width),
            "self_attn.v_proj.weight": random(kv_heads * size, width), "self_attn.o_proj.weight": random(width, heads * size),
            "mlp.gate_proj.weight": random(inner, width), "mlp.up_proj.weight": random(inner, width),
            "mlp.down_proj.weight": random(width, inner), "input_layernorm.weight": torch.ones(width).bfloat16(),
            "post_attention_layernorm.weight": torch.ones(width).bfloat16(),
        }
        if layer % 8 == 0:
            parts.append({})
        parts[-1].update({name + key: tensor for key, tensor in tensors.items()})
    index, total = {}, 0
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(part, file))
        total += sum(tensor.numel() * 2 for tensor in part.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index}))
    return total


def family(binary, folder, work):
    """How far `attnscope trace` on the card is from the reference of a committed checkpoint."""
    from safetensors.numpy import load_file

    expected = load_file(folder / "reference.safetensors")
    files = [folder / name for name in ("model.gguf", "model_final.pth", "ckpt.pt") if (folder / name).is_file()]
    ids = ",".join(str(id) for id in expected["ids"].tolist())
    out = work / f"{folder.name}.safetensors"
    command = [binary, "trace", str(files[0] if files else folder), "--ids", ids, "--out", str(out), "--device", "cuda", "--quiet"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if run.returncode:
        return {"family": folder.name, "error": run.stderr.strip()[-300:]}
    found = load_file(out)
    patterns = max((float(abs(found[name] - expected[name]).max()) for name in expected if name.startswith("pattern.")), default=0.0)
    logits = float(abs(found["logits"] - expected["logits"]).max() / abs(expected["logits"]).max())
    right = patterns <= 1e-4 and logits <= 2e-4
    return {"family": folder.name, "patterns": patterns, "logits": logits, "right": right}


def families(binary, work):
    folders = sorted(path.parent for path in FIXTURES.glob("*/reference.safetensors"))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda folder: family(binary, folder, work), folders))


def whole(command, rounds):
    """Seconds of a whole process, and its error where it ends with one."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            return {"error": (run.stderr or run.stdout).strip()[-400:]}
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def inside(command):
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        return {"error": (run.stderr or run.stdout).strip()[-400:]}
    return json.loads(run.stdout.strip().splitlines()[-1])


def floors(shape, weights, card):
    """Least seconds of each work, from bytes and operations."""
    layers, width, heads, kv_heads, size, inner, vocabulary, _ = shape
    numbers = layers * (2 * width * heads * size + 2 * width * kv_heads * size + 3 * width * inner)
    bandwidth, rate = card["bytes per second in memory"], card["bf16 operations per second"]

    def attention(tokens, sequences):
        return sequences * layers * heads * tokens * tokens * 4 * size / 2

    def of(tokens, more):
        return max(2 * numbers / bandwidth, (2 * numbers * tokens + more) / rate)

    return {
        "load": weights / card["bytes per second from host"],
        "rank": of(RANKED, attention(101, 7)),
        "prompt": of(TOKENS, attention(TOKENS, 1)),
        "step": of(1, 0),
        "ablation": of(TOKENS, attention(TOKENS, 1)) / 2,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--pass", dest="inner", help="the benchmark `pass`, for the times inside a process")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--dtypes", default="auto,bf16", help="of attnscope, for the times inside a process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("/dev/shm/attnscope-gpu"))
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    results = {"date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count()}

    def say(text):
        print(f"[{time.perf_counter() - started:5.0f} s] {text}", flush=True)
        (options.out / "gpu.json").write_text(json.dumps(results, indent=1))

    binary = str(pathlib.Path(options.binary).resolve())
    results["families"] = families(binary, options.work)
    wrong = [case for case in results["families"] if not case.get("right")]
    say(f"families: {len(results['families']) - len(wrong)} of {len(results['families'])} right")
    for case in wrong:
        say(f"  wrong: {case}")
    results["card"] = card()
    say(json.dumps(results["card"]))
    results["shapes"] = {}
    for name in options.shapes.split(","):
        shape, folder = SHAPES[name], options.work / name
        found = results["shapes"][name] = {}
        found["weights"] = checkpoint(folder, shape)
        found["floors"] = floors(shape, found["weights"], results["card"])
        say(f"{name}: checkpoint of {found['weights'] / 1e9:.2f} GB made; floors {found['floors']}")
        common = [str(folder), "--device", "cuda", "--quiet"]
        show = ["--ids", ",".join(str(id) for id in range(100, 115)), "--head", "0.0", "--matrix", "--format", "text"]
        found["rank, whole process"] = whole([binary, "rank", *common], options.rounds)
        found["first heatmap, whole process"] = whole([binary, "show", *common, *show], options.rounds)
        say(f"{name}: {found['rank, whole process']} {found['first heatmap, whole process']}")
        if options.inner:
            for dtype in options.dtypes.split(","):
                command = [options.inner, str(folder), "--device", "cuda", "--dtype", dtype, "--tokens", str(TOKENS)]
                found[f"inside, {dtype}"] = inside(command)
                say(f"{name}: {dtype}: {found[f'inside, {dtype}']}")
        if not options.no_peer:
            peer = [sys.executable, "-c", PEER]
            rounds = 1 if name == "8B" else 2
            found["peer rank, whole process"] = whole([*peer, "rank", str(folder), "0"], rounds)
            found["peer first heatmap, whole process"] = whole([*peer, "first", str(folder), "0"], rounds)
            found["peer inside"] = inside([*peer, "inside", str(folder), str(TOKENS)])
            say(f"{name}: peer {found['peer rank, whole process']} {found['peer first heatmap, whole process']} {found['peer inside']}")
        shutil.rmtree(folder)
    say("done")
    table(results)
    shutil.rmtree(options.work, ignore_errors=True)
    return 1 if wrong else 0


def table(results):
    """Medians in milliseconds, and how many times the floor and the peer they are."""
    def median(found, name):
        seconds = found.get(name, []) if isinstance(found, dict) else []
        # The first round warms the card up.
        seconds = seconds[1:] or seconds
        return statistics.median(seconds) * 1e3 if seconds else None

    print("| shape | work | attnscope (auto) ms | bf16 ms | transformers ms | floor ms |\n| --- | --- | --- | --- | --- | --- |")

    def cell(number):
        return "" if number is None else f"{number:.2f}" if number < 10 else f"{number:.0f}"

    for name, found in results["shapes"].items():
        for work in ("rank", "first heatmap"):
            ours, peer = found.get(f"{work}, whole process"), found.get(f"peer {work}, whole process")
            cells = [median(ours, "seconds"), None, median(peer, "seconds"), None]
            print(f"| {name} | {work}, whole process | " + " | ".join(map(cell, cells)) + " |")
        for work in ("load", "rank", "prompt", "one head's pattern", "all heads at a token", "step", "ablation"):
            cells = [median(found.get("inside, auto"), work), median(found.get("inside, bf16"), work),
                     median(found.get("peer inside"), work), found["floors"].get(work, 0) * 1e3 or None]
            print(f"| {name} | {work} | " + " | ".join(map(cell, cells)) + " |")


if __name__ == "__main__":
    sys.exit(main())
