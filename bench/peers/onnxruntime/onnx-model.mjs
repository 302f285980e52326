// The bytes of an ONNX model with one node, y = a·b. ONNX files are protocol buffers, of which so small a model needs two
// kinds of field: integers and byte strings. Field numbers are those of onnx.proto.

function varint(value) {
  const bytes = [];
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}
const integer = (field, value) => [...varint(field << 3), ...varint(value)];
const bytes = (field, content) => [...varint((field << 3) | 2), ...varint(content.length), ...content];
const text = (field, content) => bytes(field, [...new TextEncoder().encode(content)]);

const float32 = 1;
const irVersion = 8;
const operatorSet = 17;

/** ValueInfoProto: a named f32 tensor of known shape. */
function value(name, shape) {
  const extents = shape.flatMap((extent) => bytes(1, integer(1, extent))); // TensorShapeProto.dim.dim_value
  const tensorType = [...integer(1, float32), ...bytes(2, extents)]; // elem_type, shape
  return [...text(1, name), ...bytes(2, bytes(1, tensorType))]; // name, type.tensor_type
}

/** A model that multiplies a [m, k] by b [k, n] and calls the result y [m, n]. */
export function matmulModel(m, k, n) {
  const node = [...text(1, "a"), ...text(1, "b"), ...text(2, "y"), ...text(4, "MatMul")]; // input, input, output, op_type
  const graph = [
    ...bytes(1, node),
    ...text(2, "matmul"),
    ...bytes(11, value("a", [m, k])), // input
    ...bytes(11, value("b", [k, n])),
    ...bytes(12, value("y", [m, n])), // output
  ];
  return Uint8Array.from([...integer(1, irVersion), ...bytes(7, graph), ...bytes(8, integer(2, operatorSet))]);
}
