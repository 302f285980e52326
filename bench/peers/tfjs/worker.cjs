// A worker of TensorFlow.js' thread pool, from the sources that its package carries. They know Node, except that they would
// read the module which all threads share from a blob: URL, and Node cannot do that.
const folder = "@tensorflow/tfjs-backend-wasm/wasm-out";
const { wasmWorkerContents } = require(`${folder}/tfjs-backend-wasm-threaded-simd.worker.js`);

URL.createObjectURL = () => require.resolve(`${folder}/tfjs-backend-wasm-threaded-simd.js`);
URL.revokeObjectURL = () => {};
// The package keeps the source in a template string, in which the line breaks of its messages have become real ones.
new Function("require", "__filename", wasmWorkerContents.replaceAll("\n", "\\n"))(require, __filename);
