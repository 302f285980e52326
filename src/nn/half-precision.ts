/** bfloat16 to binary32, exactly: it is the upper half of one. */
export const bfloat16ToFloat32 = (halves: Uint16Array): Float32Array =>
  new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);

/** IEEE 754 binary16 to binary32, exactly: sign 1, exponent 5 (bias 15), fraction 10. NaN payloads are kept. */
export function halfToFloat32(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  const values = new Float32Array(bits.buffer);
  halves.forEach((half, i) => {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0) {
      values[i] = fraction * 2 ** -24; // subnormal halves are normal singles
      bits[i] = (bits[i] as number) | sign;
    } else {
      bits[i] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13);
    }
  });
  return values;
}
