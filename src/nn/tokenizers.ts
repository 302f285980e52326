/** Text to tokens and back: bytes, and the tokenizers of models. */
export { byteTokenizer } from "./tokenizers/bytes.js";
export { type EncodeTextOptions, encodeFileCached, encodeText, encodeTextCached, tokensFile } from "./tokenizers/encode-text.js";
export { loadTokenizer } from "./tokenizers/load.js";
export type { DecodeOptions, EncodedPart, EncodeOptions, StreamingDecoder, Tokenizer } from "./tokenizers/tokenizer.js";
export { type TokenizerFiles, type TokenizerPattern, type TrainTokenizerOptions, trainTokenizer } from "./tokenizers/train.js";
