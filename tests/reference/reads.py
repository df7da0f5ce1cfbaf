"""Writes `src/model/reads.json`: the keys of `config.json` that each family's classes read in transformers.

    python tests/reference/reads.py           # writes the file
    python tests/reference/reads.py --check   # says whether the file is what would be written

The source is walked from the family's model with an unembedding: its own classes, those that they name, and the shared
functions behind them (rotary positions, masks, caches). A key is read where a `config` is asked for it, as an attribute, by
`getattr` or `hasattr`, or where the configuration's own class takes it. Of models of TransformerLens it is `cfg` that is asked.
"""

import argparse
import ast
import dataclasses
import functools
import inspect
import json
import re
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path

import transformer_lens
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

FILE = Path(__file__).resolve().parents[2] / "src/model/reads.json"
FAMILIES = Path(__file__).resolve().parents[2] / "src/model/families/mod.rs"

# Where walking goes on: the families, and what they share that computes. The cache, which some keys shape too, is none of
# it: one pass over a text needs none.
INSIDE = re.compile(
    r"transformers\.(models|masking_utils|modeling_rope_utils|modeling_layers|pytorch_utils)\b"
    r"|transformer_lens\.(components|HookedTransformer$)"
)
# Methods that make new weights.
NEW_WEIGHTS = {"_init_weights", "reset_parameters"}
ATTENTION = re.compile(r"atten|rotary|rope(?!n)|mask|alibi|position", re.IGNORECASE)


def is_config(node):
    """Whether an expression is a configuration: `config`, `self.config`, `layer_config`, `config.get_text_config()`."""
    match node:
        case ast.Name(id=name):
            return name in ("config", "cfg") or name.endswith("_config")
        case ast.Attribute(attr=("config" | "cfg")):
            return True
        case ast.Call(func=ast.Attribute(value=value, attr="get_text_config")):
            return is_config(value)
        case _:
            return False


def is_self(node):
    return isinstance(node, ast.Name) and node.id == "self"


def is_kwargs(node):
    return isinstance(node, ast.Name) and node.id == "kwargs"


def literal(node):
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


@functools.cache
def tree(thing):
    """The source of a class or function, without methods that make new weights."""
    try:
        module = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError):
        return ast.Module([], [])
    for part in ast.walk(module):
        if isinstance(part, ast.ClassDef):
            part.body = [inner for inner in part.body if getattr(inner, "name", "") not in NEW_WEIGHTS]
    return module


class Reads:
    """Keys that are read, with what stands for one that is absent, and where."""

    def __init__(self):
        self.keys, self.attention = {}, set()

    def add(self, key, default, where):
        if self.keys.get(key) is None:
            self.keys[key] = default
        if ATTENTION.search(where):
            self.attention.add(key)


def walk(node, reads, where, of_class=False, of_kwargs=False):
    """Collects what is read below a node: of a configuration; with `of_class` of `self`, which is one, and with `of_kwargs` of
    what it is made with."""
    asked = is_self if of_class else is_config
    called = {id(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
    for part in ast.walk(node):
        match part:
            case ast.Attribute(value=value, attr=key, ctx=ast.Load()) if asked(value) and id(part) not in called:
                reads.add(key, None, where)
            case ast.Attribute(value=ast.Attribute(value=value, attr="attn_config"), attr=key) if asked(value):
                # MPT's has a part of its own.
                reads.add(f"attn_config.{key}", None, where)
            case ast.Call(func=ast.Name(id=("getattr" | "hasattr")), args=[value, ast.Constant(value=str(key)), *rest]):
                if asked(value):
                    reads.add(key, literal(rest[0]) if rest else None, where)
            case ast.Call(func=ast.Attribute(value=value, attr=("pop" | "get")), args=[ast.Constant(value=str(key)), *rest]):
                if of_kwargs and is_kwargs(value):
                    reads.add(key, literal(rest[0]) if rest else None, where)
            case ast.Compare(left=ast.Constant(value=str(key)), comparators=[value]) if of_kwargs and is_kwargs(value):
                reads.add(key, None, where)
            case ast.Subscript(value=value, slice=ast.Constant(value=str(key))) if of_kwargs and is_kwargs(value):
                reads.add(key, None, where)


def named(node, space):
    """What the names below a node stand for: classes and functions, also those in a table."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            thing = space.get(part.id)
            yield from thing.values() if type(thing) is dict else [thing]


def is_inside(thing):
    thing = inspect.unwrap(thing) if callable(thing) else thing
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return False
    module = getattr(thing, "__module__", "") or ""
    # Configurations are read by `of_config`; lists of models lead to other families.
    is_apart = inspect.isclass(thing) and hasattr(thing, "attribute_map") or module.startswith("transformers.models.auto")
    return bool(INSIDE.match(module)) and not is_apart


def reads_of(start):
    """What is read by a model's class and all that it names; and what that is."""
    reads, seen, todo = Reads(), set(), list(start)
    while todo:
        thing = inspect.unwrap(todo.pop())
        if thing in seen:
            continue
        seen.add(thing)
        node, space = tree(thing), vars(sys.modules[thing.__module__])
        walk(node, reads, thing.__qualname__)
        found = [*named(node, space), *(thing.__mro__[1:] if inspect.isclass(thing) else [])]
        todo += [other for other in found if is_inside(other)]
    return reads, seen


def settable(config, key):
    """Whether a file can say something for a key: no method or constant, and no property that only tells."""
    known = inspect.getattr_static(config, key, None)
    if isinstance(known, property):
        return known.fset is not None
    return key in names_of(config) or known is None and not key.startswith("_")


def names_of(config):
    """The fields of a configuration's class."""
    return {field.name for field in dataclasses.fields(config)}


def of_config(config, reads):
    """What a configuration's class takes for itself, and what the classes behind it take beside their fields."""
    has_rope = "rope_parameters" in names_of(config)
    hidden = set()
    for cls in config.__mro__:
        own = cls.__module__.startswith("transformers.models.")
        for method in tree(cls).body[0].body if cls.__module__.startswith("transformers.") else []:
            if not isinstance(method, ast.FunctionDef) or method.name in hidden:
                continue
            about_rope = "rope" in method.name
            if own or method.name == "__post_init__" or about_rope and has_rope:
                walk(method, reads, "rope" if about_rope else "", of_class=own or about_rope, of_kwargs=True)
            if f"super().{method.name}(" not in ast.unparse(method):
                hidden.add(method.name)
    if not has_rope:
        for key in ("rope_scaling", "rope_theta"):
            reads.keys.pop(key, None)
    # What the base of all models does with it is no part of a family's own code.
    reads.add("tie_word_embeddings", None, "")


def of_rotation(thing):
    """The keys of `rope_parameters` that are read in a class or function."""
    keys = set()
    for part in ast.walk(tree(thing)):
        match part:
            case ast.Subscript(value=value, slice=ast.Constant(value=str(key)), ctx=ast.Load()):
                pass
            case ast.Call(func=ast.Attribute(value=value, attr="get"), args=[ast.Constant(value=str(key)), *_]):
                pass
            case _:
                continue
        if "rope_parameters" in ast.unparse(value):
            keys.add(key)
    return keys


def plain(value):
    """A default as JSON has it; `null` where that has no word for it."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return None


def defaults_of(config, reads):
    """What stands for each key that is read, under the name that counts."""
    fields = {}
    for field in dataclasses.fields(config):
        factory = field.default_factory
        fields[field.name] = factory() if factory is not dataclasses.MISSING else field.default
    for part, inner in getattr(config, "sub_configs", {}).items():
        if dataclasses.is_dataclass(inner):
            fields |= {f"{part}.{field.name}": field.default for field in dataclasses.fields(inner)}
    aliases = getattr(config, "attribute_map", {})
    composite = bool(getattr(config, "sub_configs_defaults", {}))
    keys = {}
    for key, default in reads.keys.items():
        key = aliases.get(key, key)
        # The parts of a model of several have configurations of their own.
        if settable(config, key) and not (composite and default is None and key not in fields):
            keys[key] = plain(fields.get(key, default))
    attention = {aliases.get(key, key) for key in reads.attention}
    return {"keys": keys, "attention": sorted(attention & set(keys)), "aliases": aliases}


def family(name):
    """The keys that a family's classes read, those that its attention reads, their other names, and what its own rotation
    reads of `rope_parameters`."""
    config = CONFIG_MAPPING[name]
    alone = config in MODEL_FOR_CAUSAL_LM_MAPPING and not config.sub_configs_defaults
    model = (MODEL_FOR_CAUSAL_LM_MAPPING if alone else MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING)[config]
    reads, classes = reads_of([model])
    of_config(config, reads)
    rotations = [of_rotation(thing) for thing in classes if "Rotary" in thing.__qualname__]
    return defaults_of(config, reads) | {"rotation": sorted(set().union(*rotations))}


def lens():
    """Those of TransformerLens's model."""
    model = transformer_lens.HookedTransformer
    reads, _ = reads_of([model])
    return defaults_of(transformer_lens.HookedTransformerConfig, reads) | {"rotation": []}


def families():
    """The names of the families that transformers has a class for, as the program lists them."""
    names = re.findall(r'Family \{\s*name: "([\w-]+)"', FAMILIES.read_text())
    return [name for name in names if name in CONFIG_MAPPING]


def text():
    """The file."""
    packages = ("transformers", "transformer_lens")
    table = {
        "source": ", ".join(f"{package} {version(package)}" for package in packages),
        "rotations": {kind: sorted(of_rotation(function)) for kind, function in ROPE_INIT_FUNCTIONS.items()},
        "families": {name: family(name) for name in families()} | {"transformer_lens": lens()},
    }
    # A line for each list: as long as it is, but apart from its neighbours.
    lines = [f'"source": {json.dumps(table["source"])}']
    lines.append('"rotations": ' + json.dumps(table["rotations"], sort_keys=True))
    for name, of in table["families"].items():
        inner = ",\n".join(f"  {json.dumps(part)}: {json.dumps(value, sort_keys=True)}" for part, value in of.items())
        lines.append(f"{json.dumps(name)}: {{\n{inner}\n }}")
    head, rest = lines[:2], lines[2:]
    return "{\n" + ",\n".join(head) + ',\n"families": {\n ' + ",\n ".join(rest) + "\n}\n}\n"


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--check", action="store_true")
    if not arguments.parse_args().check:
        FILE.write_text(text())
    elif text() != FILE.read_text():
        sys.exit(f"{FILE.name} is not what {Path(__file__).name} makes: run it, and look what has changed")
