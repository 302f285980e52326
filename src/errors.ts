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

/** Where a NaN or an infinity was made, as debug mode finds it. */
export interface NonFiniteOrigin {
  /** The primitive that made it; "input" where it came in from outside. */
  readonly operation: string;
  readonly value: "NaN" | "Infinity";
  /** How many elements are, of all. */
  readonly count: number;
  readonly shape: readonly number[];
  readonly dtype: string;
  /** Where the first of them is. */
  readonly index: readonly number[];
  /** What it was made of. */
  readonly inputs: readonly NonFiniteOperand[];
  /** The line of the user's program: "/home/me/train.js:12:7"; for a value of a gradient, that of the forward value. */
  readonly line: string | undefined;
  /** The functions of the library that were called there, the user's call first. */
  readonly calls: readonly string[];
  /** For a value of a gradient, what was differentiated and the rule. */
  readonly rule: { readonly of: string; readonly formula: string } | undefined;
  /** The steps of the loops around it, the outermost first. */
  readonly steps: readonly number[];
  /** The compiled function, or "realize". */
  readonly program: string;
}

/** An operand of what made a NaN or an infinity. */
export interface NonFiniteOperand {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly nan: number;
  readonly infinite: number;
  /** The smallest and the largest finite element; undefined for integers. */
  readonly least: number | undefined;
  readonly greatest: number | undefined;
}

/** A NaN or an infinity where there must be a number. */
export class NonFiniteError extends DawngradError {
  /** The step in which it appeared, where there are steps. */
  readonly step: number | undefined;
  /** Where it was made, in debug mode. */
  readonly origin: NonFiniteOrigin | undefined;

  constructor(message: string, detail: { step?: number; origin?: NonFiniteOrigin; hint?: string; cause?: unknown } = {}) {
    super(message, detail);
    this.step = detail.step;
    this.origin = detail.origin;
  }
}

/** A file that does not hold what it should. */
export class FormatError extends DawngradError {
  /** The file, as the caller named it. */
  readonly file: string;
  /** Byte offset of the first wrong thing, where one is known. */
  readonly offset: number | undefined;

  constructor(message: string, detail: { file: string; offset?: number; hint: string; cause?: unknown }) {
    const where = detail.offset === undefined ? detail.file : `${detail.file} at byte ${detail.offset}`;
    super(`${where}: ${message}`, detail);
    this.file = detail.file;
    this.offset = detail.offset;
  }
}

/** An option or argument outside of what is possible. */
export class OptionError extends DawngradError {}
