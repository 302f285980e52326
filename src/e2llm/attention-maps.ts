/** Where the heads of a model look. */
import { callable, checkOptions, instanceOf, integer, listOf, type OptionKinds, object, optional } from "../arguments.js";
import { type Compiled, compile } from "../autograd/compile.js";
import { broadcastTo, expand, eye, gather, reshape } from "../autograd/operations.js";
import { data } from "../autograd/realize.js";
import { scan } from "../autograd/scan.js";
import { type Tensor, tensor } from "../autograd/tensor.js";
import { tensorsOf } from "../autograd/tree.js";
import { OptionError } from "../errors.js";
import type { AttentionContext, Rotations } from "../nn/attention-context.js";
import { type HostTables, ropeTensors } from "../nn/batch.js";
import { modelKind } from "../nn/kinds.js";
import type { Llama, RopeTensors } from "../nn/llama.js";
import { freshContext, rotary } from "../nn/rotary.js";
import { checkTables, checkTokens, defaultTables } from "./scoring.js";

export interface AttentionMapOptions {
  readonly model: Llama;
  /** T tokens, at most 4096. */
  readonly tokens: Int32Array;
  /** Places of the queries to tell of. */
  readonly queries: readonly number[];
  /**
   * RoPE tables [1, T, D/2], as for evaluations. Default: by the schedule that the model's configuration says it was extended for
   * (`automaticReading`), else positions divided, at g = max(1, ceil(T/L)).
   */
  readonly tables?: (context: number) => HostTables;
  /** How many first keys are sinks. Default 4, as in E²-LLM. */
  readonly sinks?: number;
  /** Keys from … to − 1 whose share is asked for, such as those that hold the answer. */
  readonly span?: { readonly from: number; readonly to: number };
}

const mapKinds: OptionKinds<AttentionMapOptions> = {
  model: modelKind,
  tokens: instanceOf("an Int32Array of tokens", Int32Array),
  queries: listOf(integer(0)),
  tables: optional(callable),
  sinks: optional(integer(0)),
  span: optional(object),
};

/** How one head of one layer divides the attention of one query. */
export interface AttentionMap {
  readonly layer: number;
  readonly head: number;
  /** The place of the query. */
  readonly query: number;
  /** [query + 1]: the probability of each key that it sees; their sum is 1. */
  readonly probabilities: Float32Array;
  /** Σ over the first keys, the sinks. */
  readonly sinks: number;
  /** Σ over the span, where one was asked for. */
  readonly span?: number;
}

/** T² numbers of each key/value head are there at once. */
const longest = 4096;

/**
 * The attention probabilities of some queries of a text, for each layer, query and head in this order: softmax(scores) as the layers
 * themselves compute it, by whatever tables or position encoding they are read.
 *
 * A layer gives Σ_k p_k·v_k, so with the rows of the identity as values what it gives is p. That takes T² numbers for each key/value head, which is
 * why long texts are refused (OptionError), as are queries and spans outside of the text.
 */
export async function attentionMaps(options: AttentionMapOptions): Promise<AttentionMap[]> {
  const place = "attentionMaps";
  checkOptions(place, options, mapKinds);
  const { model, tokens, queries, sinks = 4, span } = options;
  const length = tokens.length;
  if (length < 1 || length > longest) {
    throw new OptionError(`${place}: a text of ${length} tokens; from 1 to ${longest} can be mapped`, {
      hint: "cut it to the part of interest",
    });
  }
  if (span !== undefined) checkOptions(place, span, { from: integer(0, length - 1), to: integer(0, length) });
  const outside = queries.find((query) => query >= length);
  if (queries.length === 0 || outside !== undefined) {
    throw new OptionError(outside === undefined ? `${place} needs at least one query` : `${place}: query ${outside} of ${length} tokens`, {
      hint: `places of queries are 0 to ${length - 1}`,
    });
  }
  checkTokens(place, "the text", tokens, model.config);
  const host = checkTables(place, (options.tables ?? defaultTables(model))(length), { config: model.config, length });
  const given = { tables: ropeTensors(host), inputs: tensor(tokens, { shape: [1, length] }), places: tensor(Int32Array.from(queries)) };
  try {
    const layers = await Promise.all(probabilitiesOf(model, given.inputs, given.tables, given.places).map(readAndDispose));
    const heads = model.config.num_attention_heads;
    return layers.flatMap((values, layer) =>
      queries.flatMap((query, q) =>
        Array.from({ length: heads }, (_, head): AttentionMap => {
          const row = values.subarray((q * heads + head) * length).slice(0, query + 1);
          const mass = (from: number, to: number): number => row.subarray(from, to).reduce((sum, p) => sum + p, 0);
          return {
            ...{ layer, head, query, probabilities: row, sinks: mass(0, sinks) },
            ...(span === undefined ? {} : { span: mass(span.from, span.to) }),
          };
        }),
      ),
    );
  } finally {
    for (const { tensor: held } of tensorsOf(given)) held.dispose();
  }
}

async function readAndDispose(found: Tensor): Promise<Float32Array> {
  const values = Float32Array.from((await data(found)) as ArrayLike<number>);
  found.dispose();
  return values;
}

/** Of each layer the probabilities [Q, H, T] of the queries at some places. */
const probabilitiesOf: Compiled<[model: Llama, tokens: Tensor, tables: RopeTensors, places: Tensor], Tensor[]> = compile(
  (model, tokens, tables, places) => {
    const H = model.config.num_attention_heads;
    const T = tokens.shape[1] as number;
    let x = model.model.embed_tokens.forward(tokens);
    return model.model.layers.map((block) => {
      const { self_attn } = block;
      const queries = self_attn.heads("q", block.input_layernorm.forward(x)); // [1, H, T, D]
      let context: AttentionContext | undefined;
      x = block.forward(x, tables, (keys, values) => {
        context = self_attn.contextOf(freshContext(keys, values, tables));
        return context;
      });
      const seen = withIdentity(context as AttentionContext);
      const [, found] = scan(
        (none: null, place: Tensor): [null, Tensor] => {
          const at = reshape(place, [1]);
          const p = (self_attn.position_encoding ?? rotary).attend(gather(queries, at, 2), queryAt(seen, place)); // [1, H, 1, T]
          return [none, reshape(p, [H, T])];
        },
        null,
        places,
      );
      return found;
    });
  },
  { name: "attentionMaps" },
);

/** The rows of the identity in place of the values [1, Hkv, T, D]. */
function withIdentity({ far, ...near }: AttentionContext): AttentionContext {
  const [, heads, T] = near.keys.shape as readonly [number, number, number, number];
  const values = broadcastTo(expand(eye(T), [1, 1, T, T]), [1, heads, T, T]);
  return { ...near, values, ...(far === undefined ? {} : { far: { ...far, values } }) };
}

/** What the query at one place looks at. */
function queryAt({ far, ...near }: AttentionContext, place: Tensor): AttentionContext {
  const row = ({ cos, sin }: Rotations): Rotations => ({
    cos: gather(cos, reshape(place, [1]), 1),
    sin: gather(sin, reshape(place, [1]), 1),
  });
  return {
    ...near,
    queryTables: row(near.queryTables),
    offset: place,
    ...(far === undefined ? {} : { far: { ...far, queryTables: row(far.queryTables) } }),
  };
}
