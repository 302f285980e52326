/** Messages of Protocol Buffers, as far as files of SentencePiece need them: fields by number, each checked against the bytes that there are. */
import { FormatError } from "../../errors.js";

/** A field: its number, and an integer, four or eight bytes, or bytes of a length. */
export interface ProtoField {
  readonly number: number;
  readonly value: number | Uint8Array;
}

/**
 * The fields of a message in the order of the file. Integers are read to 2⁵³; larger ones, which negative numbers are, come as NaN.
 *
 * @param offset where the message begins in the file, for messages
 * @throws FormatError for what is no message
 */
export function* protoFields(bytes: Uint8Array, file: string, offset = 0): Generator<ProtoField & { readonly offset: number }> {
  let at = 0;
  const fail = (expected: string, place = at): FormatError =>
    new FormatError(`expected ${expected}`, {
      file,
      offset: offset + place,
      hint: "this is no tokenizer.model of SentencePiece, or it is damaged; get it again",
    });
  const varint = (): number => {
    const begin = at;
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) throw fail("an integer, found the end", begin);
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value <= Number.MAX_SAFE_INTEGER ? value : Number.NaN;
    }
    throw fail("an integer of at most ten bytes", begin);
  };
  const take = (length: number): Uint8Array => {
    if (!(length <= bytes.length - at)) throw fail(`${length} bytes, found ${bytes.length - at}`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const begin = at;
    const tag = varint();
    const number = Math.floor(tag / 8);
    if (!(number >= 1 && number < 2 ** 29)) throw fail("the number of a field", begin);
    switch (tag % 8) {
      case 0:
        yield { number, value: varint(), offset: offset + begin };
        break;
      case 1:
        yield { number, value: take(8), offset: offset + begin };
        break;
      case 2: {
        const value = take(varint());
        yield { number, value, offset: offset + at - value.length };
        break;
      }
      case 5:
        yield { number, value: take(4), offset: offset + begin };
        break;
      default:
        throw fail(`a field, found one of wire type ${tag % 8}`, begin);
    }
  }
}
