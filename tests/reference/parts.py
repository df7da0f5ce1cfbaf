"""A GGUF file in parts, written by the `gguf` package: the tensors and metadata of `gguf-llama-q8`, seven tensors a part."""

import gguf

FROM = "gguf-llama-q8"
NAME = "gguf-parts"


def write(fixtures):
    (fixtures / NAME).mkdir(exist_ok=True)
    read = gguf.GGUFReader(fixtures / FROM / "model.gguf")
    values = {key: field for key, field in read.fields.items() if not key.startswith("GGUF.")}
    architecture = values.pop("general.architecture").contents()
    writer = gguf.GGUFWriter(fixtures / NAME / "model.gguf", architecture, split_max_tensors=7)
    for key, field in values.items():
        inner = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(key, field.contents(), field.types[0], inner)
    for tensor in read.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    from pathlib import Path

    write(Path(__file__).resolve().parents[1] / "fixtures")
