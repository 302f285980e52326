/** The part of a writable stream that the command needs; `process.stdout` and `process.stderr` fit. */
export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** A stream whose failures are told instead of thrown; some streams throw when a write fails, others report it later. */
export function guarded(stream: OutputStream, onFailure: (error: NodeJS.ErrnoException) => void): OutputStream {
  return {
    write(text) {
      try {
        return stream.write(text);
      } catch (error) {
        onFailure(error as NodeJS.ErrnoException);
        return false;
      }
    },
    get isTTY() {
      return stream.isTTY === true;
    },
    get columns() {
      return stream.columns ?? 80;
    },
  };
}
