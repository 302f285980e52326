/** What texts are counted in, and losses for. */
import { byteTokenizer, type Tokenizer } from "../nn/tokenizers.js";
import { formatLoss } from "./progress.js";

/** "bytes" where each byte is a token, "tokens" for all other tokenizers. */
export type Unit = "bytes" | "tokens";

export const unitOf = (tokenizer: Tokenizer): Unit => (tokenizer === byteTokenizer ? "bytes" : "tokens");

/** "byte" or "token". */
export const oneOf = (unit: Unit): "byte" | "token" => (unit === "bytes" ? "byte" : "token");

/** A loss with both of its units, of which bytes have one: "1.3970 nats per byte", "3.8620 nats per token, 0.9001 per byte". */
export const lossInWords = (unit: Unit, loss: { readonly nats: number; readonly natsPerByte: number }): string =>
  unit === "bytes"
    ? `${formatLoss(loss.nats)} nats per byte`
    : `${formatLoss(loss.nats)} nats per token, ${formatLoss(loss.natsPerByte)} per byte`;

/** Columns of a table: per token and per byte, of which bytes have the second alone. */
export const lossColumns = (unit: Unit, [perToken, perByte]: readonly [string, string]): string[] =>
  unit === "bytes" ? [perByte] : [perToken, perByte];
