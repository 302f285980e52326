/**
 * Every error that dawngrad throws on purpose. Each message says what was expected, what was found and what to do;
 * `hint` holds the "what to do" on a line of its own, so that the command can print it apart.
 */
export class DawngradError extends Error {
  /** One sentence that tells the reader what to do next; may be empty. */
  readonly hint: string;

  constructor(message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.hint = options.hint ?? "";
  }
}

/** Shapes that do not fit together, or an axis that does not exist. */
export class ShapeError extends DawngradError {}

/** A dtype that an operation or a backend does not take. */
export class DtypeError extends DawngradError {}

/** A derivative that does not exist or was asked for in a way that cannot be met. */
export class GradientError extends DawngradError {}

/** A tensor that was donated, disposed or belongs to another backend. */
export class UsageError extends DawngradError {}

/** No backend or adapter fits what was asked for. */
export class BackendUnavailableError extends DawngradError {}

/** The GPU device went away while work was queued on it. */
export class DeviceLostError extends DawngradError {}

/** The device rejected a call: a defect of this library or of a driver, never of the user's data. */
export class DeviceError extends DawngradError {}

/** A device allocation failed or went over a device limit. */
export class OutOfMemoryError extends DawngradError {
  /** Bytes that were asked for. */
  readonly requestedBytes: number;
  /** Live bytes by owner at that moment. */
  readonly liveBytes: Readonly<Record<string, number>>;

  constructor(
    message: string,
    detail: { requestedBytes: number; liveBytes: Readonly<Record<string, number>>; hint?: string; cause?: unknown },
  ) {
    super(message, detail);
    this.requestedBytes = detail.requestedBytes;
    this.liveBytes = detail.liveBytes;
  }
}

/** A NaN or an infinity where training needs a number. */
export class NonFiniteError extends DawngradError {
  /** The step in which it appeared, where there are steps. */
  readonly step: number | undefined;

  constructor(message: string, detail: { step?: number; hint?: string; cause?: unknown } = {}) {
    super(message, detail);
    this.step = detail.step;
  }
}

/** A file that does not hold what it should. */
export class FormatError extends DawngradError {
  /** The file, as the caller named it. */
  readonly file: string;
  /** Byte offset of the first wrong thing, where one is known. */
  readonly offset: number | undefined;

  constructor(message: string, detail: { file: string; offset?: number; hint?: string; cause?: unknown }) {
    const where = detail.offset === undefined ? detail.file : `${detail.file} at byte ${detail.offset}`;
    super(`${where}: ${message}`, detail);
    this.file = detail.file;
    this.offset = detail.offset;
  }
}

/** An option or argument outside of what is possible. */
export class OptionError extends DawngradError {}
