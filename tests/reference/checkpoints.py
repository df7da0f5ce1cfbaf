"""Tiny random checkpoints with the tensors that `transformers` computes from them.

Every parameter is random (gains and biases too), with scales that keep attention far from uniform. The reference is read
back from the saved folder, so it is the reference of what is on disk: float32, eager attention, on the CPU.
"""

import contextlib
import dataclasses
import importlib
import json
import re
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM

from texts import SENTENCES


@dataclasses.dataclass
class Case:
    """A model to be made: how, and what is done with it."""

    build: Callable[[], torch.nn.Module]
    # What the reference is computed with.
    reader: type = AutoModelForCausalLM
    # Tokens of the sequence whose reference is kept.
    length: int = 14
    # Whether it is among the fixtures, or made only where every setting is tested.
    stored: bool = True
    # Options of `save_pretrained`.
    options: dict = dataclasses.field(default_factory=dict)
    # Writes the model to a folder, where `save_pretrained` does not.
    save: Callable[[torch.nn.Module, Path], None] | None = None
    # What runs the saved model; see `open_transformers`.
    open: Callable | None = None
    # What is done to the folder before the reference is computed.
    rewrite: Callable[[Path], None] | None = None
    # Standard deviation of the matrices; wide enough for peaked attention.
    spread: float = 0.28
    # Of the random numbers; without one, the name makes it.
    seed: int | None = None


def cases():
    """Every case of every module in `families`, by name."""
    found = {}
    for module in sorted(path.stem for path in (Path(__file__).parent / "families").glob("*.py")):
        found |= importlib.import_module(f"families.{module}").CASES
    return found


@contextlib.contextmanager
def config_of(folder):
    """The keys of a checkpoint's config.json, which is written anew with what is done to them."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    yield config
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def older_keys(folder):
    """Rewrites the config as releases before 5 wrote it: `rope_theta` and `rope_scaling` in place of `rope_parameters`."""
    with config_of(folder) as config:
        rope = config.pop("rope_parameters")
        # Where each kind of layer has its own, only that of the full ones was written.
        rope = rope.get("full_attention", rope)
        config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope, "torch_dtype": config.pop("dtype")}


def without(*keys):
    """Leaves keys to what they are by default."""

    def rewrite(folder):
        with config_of(folder) as config:
            for key in keys:
                del config[key]

    return rewrite


def stacked_experts(folder):
    """Stacks the experts of each layer, which are one by one, as transformers has them in memory."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    stacks = {}
    for name in sorted(tensors):
        if found := re.fullmatch(r"(.*)\.(?:mlp|block_sparse_moe)\.experts\.\d\.(\w+)\.weight", name):
            layer, place = found.groups()
            stacks.setdefault(layer, {}).setdefault(place, []).append(tensors.pop(name))
        elif "block_sparse_moe" in name:
            tensors[name.replace("block_sparse_moe", "mlp")] = tensors.pop(name)
    for layer, places in stacks.items():
        names = ["w1", "w3", "w2"] if "w1" in places else ["gate_proj", "up_proj", "down_proj"]
        gate, up, down = (torch.stack(places[name]) for name in names)
        experts = f"{layer}.mlp.experts"
        tensors |= {f"{experts}.gate_up_proj": torch.cat([gate, up], 1), f"{experts}.down_proj": down}
    save_file(tensors, file, metadata={"format": "pt"})


def embedding_in(tensors):
    """The name of the token embedding."""
    return next(name for name in tensors if name.endswith(("embed_tokens.weight", "wte.weight")))


def other_head(folder):
    """Stores an unembedding that is not the embedding, which the configuration says it is."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    embedding = tensors[embedding_in(tensors)]
    tensors["lm_head.weight"] = embedding.flip(0) + 0.1 * embedding
    save_file(tensors, file, metadata={"format": "pt"})


def head_alone(folder):
    """Stores the matrix of both ends under the name of the unembedding, as `safetensors.torch.save_model` does."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors.pop(embedding_in(tensors))
    save_file(tensors, file, metadata={"format": "pt"})


def without_kinds(folder):
    """The older keys, and no `layer_types`: the family knows which layers slide."""
    older_keys(folder)
    without("layer_types")(folder)


@torch.no_grad()
def randomise(model, seed, spread=0.28):
    """Draws every parameter: gains around one, biases around zero, matrices wide enough for peaked attention."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "q_norm" in name or "k_norm" in name:
            # Queries and keys that are normalised are as long as their gains make them.
            parameter.copy_(1.8 + 0.5 * noise)
        elif parameter.ndim > 1:
            parameter.copy_((0.5 if "wte" in name or "embed" in name else spread) * noise)
        elif name.endswith("bias") or name.rpartition(".")[2].startswith("b"):
            parameter.copy_(0.3 * noise)
        else:
            parameter.copy_(1.0 + 0.3 * noise)


def open_transformers(reader):
    """How a folder is opened with a class of transformers: its number of ids, and what makes logits and patterns of some."""

    def opened(folder):
        model = reader.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

        def forward(ids):
            out = model(ids, output_attentions=True)
            return out.logits, out.attentions

        forward.source = "transformers"
        return model.config.get_text_config().vocab_size, forward

    return opened


@torch.no_grad()
def reference(folder, length, seed, opened):
    """Runs the saved model in float32: `ids` [T], `logits` [T, vocab] where it tells them, `pattern.L` [heads, T, T]."""
    vocabulary, forward = opened(folder)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocabulary, (1, length), generator=generator)
    # A repeat, so that heads that look for one have something to find.
    ids[0, length // 2 : length // 2 + 4] = ids[0, 1:5]
    logits, patterns = forward(ids)
    tensors = {"ids": ids[0]} | ({} if logits is None else {"logits": logits[0]})
    tensors |= {f"pattern.{layer}": pattern[0] for layer, pattern in enumerate(patterns)}
    assert all(pattern.dtype == torch.float32 for pattern in patterns)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    # One entry: the order of several would change from run to run.
    source = ", ".join(f"{name} {version(name)}" for name in (forward.source, "torch"))
    save_file(tensors, folder / "reference.safetensors", metadata={"source": source})
    rows = torch.stack([pattern[0, :, -1].max(-1).values for pattern in patterns])
    print(f"{folder.name:16} largest attention of the last row, mean over heads: {rows.mean():.2f}")


def tokenizer(vocab_size):
    """A byte-level BPE tokenizer whose post-processor adds no BOS."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tok.train_from_iterator(SENTENCES, trainer)
    assert tok.get_vocab_size() == vocab_size
    return tok


def seed_of(name):
    """The same number for a name in every run."""
    return zlib.crc32(name.encode()) % 100_000


def write_case(folder, case):
    """Writes one checkpoint and its reference."""
    seed = seed_of(folder.name) if case.seed is None else case.seed
    torch.manual_seed(seed)
    model = case.build()
    randomise(model, seed, case.spread)
    if case.save:
        case.save(model, folder)
    else:
        model.save_pretrained(folder, **case.options)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if case.rewrite:
        case.rewrite(folder)
    reference(folder, case.length, seed, case.open or open_transformers(case.reader))


def write(root, everything=False, only=""):
    """Writes the cases below `root` whose names begin with `only`: those that are stored, or every one there is."""
    transformers.utils.logging.disable_progress_bar()
    for name, case in cases().items():
        if (case.stored or everything) and name.startswith(only):
            write_case(root / name, case)
