"""Every GGUF block type the loader reads, with what the `gguf` package makes of the bytes."""

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

SHAPE = (4, 256)
QUANTIZED = [Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1]
# The package cannot quantize these. Per block: its bytes, and where its half-precision scales are.
RANDOM = {Type.Q4_K: (144, [0, 2]), Type.Q5_K: (176, [0, 2]), Type.Q6_K: (210, [208])}


def random_blocks(rng, size, scales):
    """One block a row: any bytes are valid but the scales, which must be finite."""
    blocks = rng.integers(0, 256, (SHAPE[0], size), dtype=np.uint8)
    for at in scales:
        half = rng.uniform(0.001, 0.02, SHAPE[0]).astype(np.float16)
        blocks[:, at : at + 2] = half.view(np.uint8).reshape(-1, 2)
    return blocks


def write(folder):
    """Writes `blocks.gguf` and `blocks.reference.safetensors`: tensors [4, 256], named after their type."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(folder / "blocks.gguf", "none")
    expected = {}
    for kind in QUANTIZED:
        data = gguf.quants.quantize(rng.standard_normal(SHAPE, dtype=np.float32), kind)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = gguf.quants.dequantize(data, kind).astype(np.float32).reshape(SHAPE)
    for kind, (size, scales) in RANDOM.items():
        data = random_blocks(rng, size, scales)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = gguf.quants.dequantize(data, kind).reshape(SHAPE)
    assert all(np.isfinite(values).all() for values in expected.values())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, folder / "blocks.reference.safetensors")
