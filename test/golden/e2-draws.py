"""Scales and shifts of E2-LLM's sampler, by an independent implementation in plain Python integers.

Prints the literals of test/e2llm/positions/e2.test.ts:  python3 test/golden/e2-draws.py
"""

M = 2**32


def threefry2x32(key, counter):
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    ks = (key[0], key[1], 0x1BD11BDA ^ key[0] ^ key[1])
    x = [(counter[0] + ks[0]) % M, (counter[1] + ks[1]) % M]
    for i in range(1, 6):
        for r in rotations[(i - 1) % 2]:
            x[0] = (x[0] + x[1]) % M
            x[1] = ((x[1] << r) % M | x[1] >> (32 - r)) ^ x[0]
        x = [(x[0] + ks[i % 3]) % M, (x[1] + ks[(i + 1) % 3] + i) % M]
    return tuple(x)


def below(key, bound):
    limit = M - M % bound
    attempt = 0
    while True:
        for word in threefry2x32(key, (attempt, 0)):
            if word < limit:
                return word % bound
        attempt += 1


def draw(seed, step, row, window, g_max, length):
    key = (seed >> 32, seed % M)
    scale_key, shift_key = (threefry2x32(threefry2x32(key, (stream, 0)), (step, row)) for stream in (1, 2))
    g = 1 + below(scale_key, g_max)
    return g, below(shift_key, max(0, g * window - length) + 1)


if __name__ == "__main__":
    for vector in (((0, 0), (0, 0)), ((M - 1, M - 1), (M - 1, M - 1)), ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3))):
        print("threefry", *(f"0x{word:08x}" for word in threefry2x32(*vector)))
    print("seed 0", [draw(0, step, 0, 128, 8, 128) for step in range(8)])
    print("seed 2^40+7", [draw(2**40 + 7, 1000, row, 64, 20, 48) for row in range(6)])
