// Plain loops: `from` with a callback takes 34 times as long on hundreds of millions of numbers.

/** bfloat16 to binary32, exactly: it is the upper half of one. */
export function bfloat16ToFloat32(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = (halves[i] as number) << 16;
  return new Float32Array(bits.buffer);
}

/** IEEE 754 binary16 to binary32, exactly: sign 1, exponent 5 (bias 15), fraction 10. NaN payloads are kept. */
export function halfToFloat32(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  const values = new Float32Array(bits.buffer);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i] as number;
    const sign = (half & 0x8000) << 16;
    const exponent = (half >> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0) {
      values[i] = fraction * 2 ** -24; // subnormal halves are normal singles
      bits[i] = (bits[i] as number) | sign;
    } else {
      bits[i] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13);
    }
  }
  return values;
}
