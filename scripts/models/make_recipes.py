#!/usr/bin/env python3
"""Write src/models/community1.zip: how the diarizer's files are made of a wheel's data.

    make_recipes.py LIBMOONSHINE.SO FOLDER OUTPUT.zip

The PyPI wheel of moonshine-voice carries the networks of pyannote community-1 as data of its library, in a
form that ONNX Runtime can run but not optimise. FOLDER holds the same networks as plain ONNX graphs, the
trunk with 8-bit convolutions (onnxruntime.quantization, static, QDQ, per channel, from fixed ranges).

Nearly all bytes of those files are the library's own, copied or computed. So this program writes down, for each
file, where its bytes come from: copied from a symbol, weights quantised per channel, weights expanded to
float, or literal (the graph around them). `scribefs models pull` follows the recipe and compares hashes; users
need neither Python nor these packages.

Only needed when the wheel or the graphs change. Needs: onnx, onnxruntime, numpy.
"""
import base64
import hashlib
import json
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.tools.ort_format_model import ort_flatbuffers_py  # noqa: F401  (makes the schema importable)
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

NAMESPACE = "_ZN9cppannote19embedded_community1"
TYPES = {np.dtype("int8"): "i8", np.dtype("uint8"): "u8", np.dtype("float32"): "f32"}
SMALLEST_COPY = 64


def symbols(library):
    """Names and bytes of the library's data in our namespace, by its dynamic symbol table."""
    shoff, = struct.unpack_from("<Q", library, 40)
    shsize, shnum = struct.unpack_from("<HH", library, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", library, shoff + i * shsize) for i in range(shnum)]
    found = {}
    for section in sections:
        if section[1] != 11:
            continue
        strings = sections[section[6]][4]
        for at in range(section[4], section[4] + section[5], 24):
            name, _, _, index, value, size = struct.unpack_from("<IBBHQQ", library, at)
            end = library.index(b"\0", strings + name)
            text = library[strings + name : end].decode()
            if text.startswith(NAMESPACE) and 0 < index < shnum:
                home = sections[index]
                start = home[4] + value - home[3]
                short = text[len(NAMESPACE) :].rstrip("E").lstrip("0123456789")
                found[short] = library[start : start + size]
    return found


def tensors(ort_bytes):
    """Arrays of an .ort file's graph by name, and where the large ones lie in it."""
    graph = InferenceSession.GetRootAsInferenceSession(ort_bytes, 0).Model().Graph()
    arrays, places = {}, {}
    for i in range(graph.InitializersLength()):
        tensor = graph.Initializers(i)
        name, raw = tensor.Name().decode(), tensor.RawDataAsNumpy().tobytes() if tensor.RawDataLength() else b""
        proto = TensorProto(name=name, data_type=tensor.DataType(), raw_data=raw)
        proto.dims.extend(tensor.Dims(k) for k in range(tensor.DimsLength()))
        arrays[name] = numpy_helper.to_array(proto)
        if len(raw) >= SMALLEST_COPY:
            places[name] = ort_bytes.index(raw)
    return arrays, places


def literal(data):
    return {"literal": base64.b64encode(data).decode()}


def weights_of(name, arrays, places, symbol):
    """The tensor `name` as the recipe says it: stored as float, or as 8 bits with scale and offset."""
    if name in arrays:
        stored, scale, zero = name, 1.0, 0.0
    else:
        stored = name + "_quantized"
        scale, zero = arrays[name + "_scale"].item(), arrays[name + "_zero_point"].item()
    array = arrays[stored]
    values = array.astype(np.float32) * np.float32(scale) + np.float32(zero)
    told = {"symbol": symbol, "at": places[stored], "count": array.size, "type": TYPES[array.dtype]}
    return values, told | {"scale": scale, "zero": zero}


def in_order(output, replaced):
    """The file as parts: what `replaced` explains, and literals between."""
    parts, done = [], 0
    for at, length, part in sorted(replaced, key=lambda it: it[0]):
        if done < at:
            parts.append(literal(output[done:at]))
        parts.append(part)
        done = at + length
    if done < len(output):
        parts.append(literal(output[done:]))
    return parts


def copied(output, symbol, source):
    """Parts of a graph whose tensors are the library's own bytes."""
    replaced = []
    for tensor in onnx.load_from_string(output).graph.initializer:
        raw = tensor.raw_data
        if len(raw) >= SMALLEST_COPY and raw in source:
            part = {"copy": {"symbol": symbol, "at": source.index(raw), "count": len(raw)}}
            replaced.append((output.index(raw), len(raw), part))
    return in_order(output, replaced)


def quantised(output, symbol, source):
    """Parts of the trunk with 8-bit weights."""
    arrays, places = tensors(source)
    initializers = {t.name: t for t in onnx.load_from_string(output).graph.initializer}
    replaced = []
    for name, tensor in initializers.items():
        if not (name.endswith("_quantized") and len(tensor.dims) == 4):
            continue
        base = name.removesuffix("_quantized")
        values, told = weights_of(base.removesuffix("_add_tensor"), arrays, places, symbol)
        scales = numpy_helper.to_array(initializers[base + "_scale"])
        expected = numpy_helper.to_array(tensor)
        made = np.clip(np.round(values / scales.reshape(-1, 1, 1, 1)), -128, 127).astype(np.int8)
        assert (made == expected).all(), name
        part = {"quantise": told | {"channel_scales": base64.b64encode(scales.astype("<f4").tobytes()).decode()}}
        raw = expected.tobytes()
        replaced.append((output.index(raw), len(raw), part))
    return in_order(output, replaced)


def head(output, symbol, source):
    arrays, places = tensors(source)
    values, told = weights_of("resnet.seg_1.weight", arrays, places, symbol)
    raw = values.astype("<f4").tobytes()
    if raw not in output:
        raise SystemExit("the head's weights are stored the other way round")
    replaced = [(output.index(raw), len(raw), {"expand": told})]
    bias = arrays["resnet.seg_1.bias"].tobytes()
    part = {"copy": {"symbol": symbol, "at": places["resnet.seg_1.bias"], "count": len(bias)}}
    replaced.append((output.index(bias), len(bias), part))
    return in_order(output, replaced)


def plda(output, data):
    replaced = []
    for name in ("xvec_mean1", "xvec_mean2", "xvec_lda", "plda_mu", "plda_tr", "plda_psi"):
        raw = data[name]
        part = {"copy": {"symbol": name, "at": 0, "count": len(raw)}}
        replaced.append((output.index(raw), len(raw), part))
    return in_order(output, replaced)


def main():
    library, folder, target = (Path(argument) for argument in sys.argv[1:4])
    data = symbols(library.read_bytes())
    segmentation, embedding = data["segmentation_ort_data"], data["embedding_ort_data"]
    read = lambda name: (folder / name).read_bytes()  # noqa: E731
    made = {
        "segmentation.onnx": copied(read("segmentation.onnx"), "segmentation_ort_data", segmentation),
        "embedding_trunk_int8.onnx": quantised(
            read("embedding_trunk_int8.onnx"), "embedding_ort_data", embedding
        ),
        "embedding_head.safetensors": head(read("embedding_head.safetensors"), "embedding_ort_data", embedding),
        "plda.safetensors": plda(read("plda.safetensors"), data),
    }
    recipes = [
        {"name": name, "sha256": hashlib.sha256(read(name)).hexdigest(), "parts": parts}
        for name, parts in made.items()
    ]
    text = json.dumps(recipes, indent=0).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(zipfile.ZipInfo("recipes.json", (2026, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    for recipe in recipes:
        size = sum(len(part.get("literal", "")) * 3 // 4 for part in recipe["parts"])
        print(f"{recipe['name']}: {len(recipe['parts'])} parts, {size} literal bytes")


if __name__ == "__main__":
    main()
