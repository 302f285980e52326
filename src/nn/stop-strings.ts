import type { StreamingDecoder } from "./tokenizers.js";

/**
 * The text of tokens that come one by one, up to the first of some stop strings. What may be the beginning of one is held back until it is
 * known whether it is:
 *
 *   stop "###"      tokens  "one #"  "# t"  "wo ##"  "# three"
 *                   text    "one "   "## t" "wo "    ""            and it is stopped
 */
export class StoppedText {
  private held = "";
  private isStopped = false;

  constructor(
    private readonly decoder: StreamingDecoder,
    private readonly stops: readonly string[],
  ) {}

  /** Whether a stop string has come. Its text, and all after it, is dropped. */
  get stopped(): boolean {
    return this.isStopped;
  }

  /** The text that is certain with this token. */
  push(token: number): string {
    return this.take(this.decoder.push([token]));
  }

  /** What was held back, at the end of the tokens. */
  end(): string {
    const text = this.take(this.decoder.end()) + this.held;
    this.held = "";
    return text;
  }

  private take(more: string): string {
    if (this.isStopped) return "";
    const text = this.held + more;
    const found = this.stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    this.isStopped = found.length > 0;
    const certain = this.isStopped ? Math.min(...found) : text.length - this.uncertain(text);
    this.held = this.isStopped ? "" : text.slice(certain);
    return text.slice(0, certain);
  }

  /** How many characters at the end of a text are the beginning of a stop string, at most. */
  private uncertain(text: string): number {
    let most = 0;
    for (const stop of this.stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > most; length--) {
        if (text.endsWith(stop.slice(0, length))) most = length;
      }
    }
    return most;
  }
}
