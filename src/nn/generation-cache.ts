import { type Compiled, compile } from "../autograd/compile.js";
import { tensor } from "../autograd/tensor.js";
import { tensorsOf } from "../autograd/tree.js";
import { KeyValueCache, type KeyValueCacheOptions } from "./kv-cache.js";
import type { Llama, RopeTensors, Rotations } from "./llama.js";
import { copyTree } from "./module.js";
import { StreamingCache } from "./streaming-cache.js";

export type GenerationCache = KeyValueCache | StreamingCache;

export interface CacheSizes {
  readonly capacity: number;
  readonly dtype: KeyValueCacheOptions["dtype"];
  /** Where the text of each row begins. */
  readonly first: Int32Array;
}

type Turning = Compiled<[cache: KeyValueCache, tables: Rotations], KeyValueCache>;

const turned: Turning = compile(
  (cache, tables) => {
    cache.turn(tables);
    return cache;
  },
  { donate: [0], name: "turn keys" },
);

const turnedBack: Turning = compile(
  (cache, tables) => {
    cache.turnBack(tables);
    return cache;
  },
  { donate: [0], name: "turn keys back" },
);

/** Whether each key has one angle by which all queries find it. */
export const canTurnKeys = ({ model }: Llama, { far }: { readonly far?: unknown }): boolean =>
  far === undefined && model.layers.every((layer) => layer.self_attn.position_encoding === null);

/**
 * The cache of a text that is being written, whose keys are kept turned for as long as the tables stay the same: then each is turned once.
 * Where tables change, as those of a scale that grows, all keys are turned back, and turned anew when the new tables are seen a second
 * time. So tables that change with every token cost what turning all keys for each token does, and no rounding adds up.
 */
export class TurningCache {
  private cache: GenerationCache | undefined;
  /** The tables that were used last. Whoever gave them may have disposed them since. */
  private last: RopeTensors | undefined;
  /** What the keys have been turned by. */
  private turnedBy: Rotations | undefined;

  /** @param start what an empty cache is made of when the first tables are known, or a cache that turns keys whenever it is read */
  constructor(
    private readonly model: Llama,
    private readonly start: CacheSizes | StreamingCache,
  ) {
    if (start instanceof StreamingCache) this.cache = start;
  }

  /** The cache for reading by these tables; {@link keep} takes what becomes of it. */
  readyFor(tables: RopeTensors): GenerationCache {
    const { last, start } = this;
    this.last = tables;
    if (start instanceof StreamingCache) return this.cache as StreamingCache;
    const canTurn = canTurnKeys(this.model, tables);
    const cache = (this.cache ?? this.empty(start, canTurn)) as KeyValueCache;
    const isSame = canTurn && (last === undefined || (last.cos === tables.cos && last.sin === tables.sin));
    if (cache.turned && !isSame) {
      this.cache = turnedBack(cache, this.turnedBy as Rotations);
      this.forgetTables();
    } else if (isSame && this.turnedBy === undefined) {
      this.cache = cache.turned ? cache : turned(cache, { cos: tables.cos, sin: tables.sin });
      this.turnedBy = copyTree({ cos: tables.cos, sin: tables.sin });
    } else this.cache = cache;
    return this.cache;
  }

  keep(cache: GenerationCache): void {
    this.cache = cache;
  }

  /** Frees its memory at once. */
  dispose(): void {
    this.cache?.dispose();
    this.forgetTables();
  }

  private empty({ capacity, dtype, first }: CacheSizes, canTurn: boolean): KeyValueCache {
    return new KeyValueCache(this.model.config, {
      capacity,
      batch: first.length,
      turned: canTurn,
      ...(dtype === undefined ? {} : { dtype }),
      // Where no row has padding, nobody has to look for it.
      ...(first.some((place) => place > 0) ? { first: tensor(first) } : {}),
    });
  }

  private forgetTables(): void {
    for (const { tensor } of tensorsOf(this.turnedBy)) tensor.dispose();
    this.turnedBy = undefined;
  }
}
