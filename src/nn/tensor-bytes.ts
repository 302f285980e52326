import { memoryOf } from "../autograd/compile.js";
import { apply } from "../autograd/tensor.js";
import { mapTensors, type Tree, tensorsOf } from "../autograd/tree.js";

/** Bytes that the tensors of a tree take on the current backend. They need no numbers. */
export function tensorBytes(tree: Tree): number {
  if (tensorsOf(tree).length === 0) return 0;
  return memoryOf((x: Tree) => mapTensors(x, (tensor) => apply("alias", [tensor], {})), tree).inputBytes;
}
