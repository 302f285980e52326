/**
 * Recurrent networks: cells that take one step, and their run over time by `scan`. What a cell makes of its inputs alone is computed for all steps at
 * once; the loop has the product with the last state and what follows from it.
 */
import {
  checkArgument,
  checkOptions,
  flag,
  fraction,
  integer,
  type Kind,
  type OptionKinds,
  object,
  objectWith,
  optional,
  orNull,
  text,
} from "../arguments.js";
import { sigmoid } from "../autograd/composites.js";
import { keyKind, tensorKind } from "../autograd/kinds.js";
import { split as splitAlong } from "../autograd/operations/movement.js";
import { add, concat, matmul, mul, permute, sub, tanh, transpose, zeros } from "../autograd/operations.js";
import { dropout, foldIn, split } from "../autograd/random.js";
import { scan } from "../autograd/scan.js";
import type { Tensor } from "../autograd/tensor.js";
import { ShapeError } from "../errors.js";
import { show } from "../ir/shape.js";
import { checkForward, type ForwardOptions } from "./layers.js";
import { uniformByFan } from "./module.js";

/** What a cell keeps from step to step; `h` is what it gives out. */
export interface HiddenState {
  /** [B, H] */
  readonly h: Tensor;
}

export interface LstmState extends HiddenState {
  /** [B, H] */
  readonly c: Tensor;
}

/** A step of a recurrent network, in two parts: what depends on the inputs alone, and the rest. */
export interface RecurrentCell<State extends HiddenState> {
  /** Inputs […, in] → […, whatever `advance` takes] */
  project(x: Tensor): Tensor;
  /** The state before the first step, for projected inputs [B, …]. */
  initial(projected: Tensor): State;
  /** The state after one more step. */
  advance(projected: Tensor, state: State): State;
}

export interface CellWeights {
  readonly weight_ih: Tensor; // [G·H, in], G the number of gates
  readonly weight_hh: Tensor; // [G·H, H]
  readonly bias_ih?: Tensor | null; // [G·H]
  readonly bias_hh?: Tensor | null; // [G·H]
}

const biasKind = optional(orNull(tensorKind));
const weightKinds: OptionKinds<CellWeights> = { weight_ih: tensorKind, weight_hh: tensorKind, bias_ih: biasKind, bias_hh: biasKind };

export interface CellOptions {
  /** Whether there are biases. Default true. */
  readonly bias?: boolean;
}

/** The weights of a cell, as PyTorch names and begins them: uniform on ±1/√H. */
function cellWeights(where: string, gates: number, k: Tensor, inputs: number, hidden: number, options: CellOptions): CellWeights {
  checkArgument(where, "key", k, keyKind);
  checkArgument(where, "inputs", inputs, integer(0));
  checkArgument(where, "hidden", hidden, integer(1));
  checkOptions(where, options, { bias: optional(flag) });
  const [a, b, c, d] = split(k, 4) as [Tensor, Tensor, Tensor, Tensor];
  const of = (key: Tensor, shape: number[]): Tensor => uniformByFan(key, shape, hidden);
  const bias = options.bias ?? true;
  return {
    weight_ih: of(a, [gates * hidden, inputs]),
    weight_hh: of(b, [gates * hidden, hidden]),
    bias_ih: bias ? of(c, [gates * hidden]) : null,
    bias_hh: bias ? of(d, [gates * hidden]) : null,
  };
}

/** What the cells have in common: two matrices and two biases, with the rows of each gate one after the other. */
abstract class GatedCell {
  weight_ih: Tensor; // [G·H, in]
  weight_hh: Tensor; // [G·H, H]
  bias_ih: Tensor | null; // [G·H]
  bias_hh: Tensor | null; // [G·H]

  constructor(where: string, gates: number, weights: CellWeights) {
    checkOptions(where, weights, weightKinds);
    const { weight_ih, weight_hh, bias_ih = null, bias_hh = null } = weights;
    const [rows, hidden] = weight_hh.shape;
    const fits =
      weight_ih.rank === 2 &&
      weight_hh.rank === 2 &&
      rows === gates * (hidden as number) &&
      weight_ih.shape[0] === rows &&
      [bias_ih, bias_hh].every((bias) => bias === null || (bias.rank === 1 && bias.shape[0] === rows));
    if (!fits) {
      const biases = [bias_ih, bias_hh].flatMap((bias) => (bias === null ? [] : [show(bias.shape)]));
      const shapes = [show(weight_ih.shape), show(weight_hh.shape), ...biases].join(", ");
      throw new ShapeError(`${where}: weights and biases ${shapes}`, {
        hint: `with ${gates === 1 ? "one gate" : `${gates} gates`} they are [${gates}H, in], [${gates}H, H] and [${gates}H] twice`,
      });
    }
    this.weight_ih = weight_ih;
    this.weight_hh = weight_hh;
    this.bias_ih = bias_ih;
    this.bias_hh = bias_hh;
  }

  /** […, in] → […, G·H] */
  project(x: Tensor): Tensor {
    return affine(x, this.weight_ih, this.bias_ih);
  }

  protected zeros(projected: Tensor): Tensor {
    return zeros([...projected.shape.slice(0, -1), this.weight_hh.shape[1] as number], { dtype: projected.dtype });
  }

  /** What the last output adds to the gates: [B, H] → [B, G·H] */
  protected recurrent(h: Tensor): Tensor {
    return affine(h, this.weight_hh, this.bias_hh);
  }

  /** [B, G·H] → G times [B, H] */
  protected gates(x: Tensor): Tensor[] {
    const [rows, hidden] = this.weight_hh.shape as [number, number];
    return splitAlong(x, Array<number>(rows / hidden).fill(hidden), -1);
  }
}

const affine = (x: Tensor, weight: Tensor, bias: Tensor | null): Tensor => {
  const y = matmul(x, transpose(weight));
  return bias === null ? y : add(y, bias);
};

/** h ← tanh(W_ih·x + b_ih + W_hh·h + b_hh) (Elman 1990). */
export class RnnCell extends GatedCell implements RecurrentCell<HiddenState> {
  constructor(weights: CellWeights) {
    super("RnnCell", 1, weights);
  }

  static create(key: Tensor, inputs: number, hidden: number, options: CellOptions = {}): RnnCell {
    return new RnnCell(cellWeights("RnnCell.create", 1, key, inputs, hidden, options));
  }

  initial(projected: Tensor): HiddenState {
    return { h: this.zeros(projected) };
  }

  advance(projected: Tensor, { h }: HiddenState): HiddenState {
    return { h: tanh(add(projected, this.recurrent(h))) };
  }
}

/**
 * Long short-term memory (Hochreiter & Schmidhuber 1997; with a forget gate, Gers et al. 2000). With i, f, g, o the four parts of W_ih·x + b_ih + W_hh·h + b_hh:
 *
 *   c ← σ(f)·c + σ(i)·tanh(g)          h ← σ(o)·tanh(c)
 */
export class LstmCell extends GatedCell implements RecurrentCell<LstmState> {
  constructor(weights: CellWeights) {
    super("LstmCell", 4, weights);
  }

  static create(key: Tensor, inputs: number, hidden: number, options: CellOptions = {}): LstmCell {
    return new LstmCell(cellWeights("LstmCell.create", 4, key, inputs, hidden, options));
  }

  initial(projected: Tensor): LstmState {
    return { h: this.zeros(projected), c: this.zeros(projected) };
  }

  advance(projected: Tensor, { h, c }: LstmState): LstmState {
    const [i, f, g, o] = this.gates(add(projected, this.recurrent(h))) as [Tensor, Tensor, Tensor, Tensor];
    const next = add(mul(sigmoid(f), c), mul(sigmoid(i), tanh(g)));
    return { h: mul(sigmoid(o), tanh(next)), c: next };
  }
}

/**
 * Gated recurrent unit (Cho et al. 2014; in PyTorch's form, where r acts on the product). With r, z, n the three parts of W_ih·x + b_ih and of W_hh·h + b_hh:
 *
 *   r = σ(r_x + r_h)     z = σ(z_x + z_h)     n = tanh(n_x + r·n_h)          h ← (1 − z)·n + z·h
 */
export class GruCell extends GatedCell implements RecurrentCell<HiddenState> {
  constructor(weights: CellWeights) {
    super("GruCell", 3, weights);
  }

  static create(key: Tensor, inputs: number, hidden: number, options: CellOptions = {}): GruCell {
    return new GruCell(cellWeights("GruCell.create", 3, key, inputs, hidden, options));
  }

  initial(projected: Tensor): HiddenState {
    return { h: this.zeros(projected) };
  }

  advance(projected: Tensor, { h }: HiddenState): HiddenState {
    const [rx, zx, nx] = this.gates(projected) as [Tensor, Tensor, Tensor];
    const [rh, zh, nh] = this.gates(this.recurrent(h)) as [Tensor, Tensor, Tensor];
    const n = tanh(add(nx, mul(sigmoid(add(rx, rh)), nh)));
    return { h: add(n, mul(sigmoid(add(zx, zh)), sub(h, n))) };
  }
}

const stateKind = objectWith("a state: { h }, and c for an LstmCell", "h");
const cellKind = objectWith("a cell: { project, initial, advance }", "project", "initial", "advance");

export interface ScanCellOptions<State> {
  /** The state before the first step. Default: zeros. */
  readonly state?: State;
  /** From the last step to the first; outputs lie as the inputs do. Default false. */
  readonly reverse?: boolean;
}

/**
 * A cell over time: inputs [B, T, in] → the outputs h of every step, [B, T, H], and the last state. One loop of the program, whatever T is; see `scan`.
 * Throws ShapeError for inputs of another rank.
 */
export function scanCell<State extends HiddenState>(
  cell: RecurrentCell<State>,
  xs: Tensor,
  options: ScanCellOptions<State> = {},
): [ys: Tensor, state: State] {
  checkArgument("scanCell", "cell", cell, cellKind);
  checkArgument("scanCell", "xs", xs, tensorKind);
  checkOptions("scanCell", options, { state: optional(stateKind), reverse: optional(flag) });
  if (xs.rank !== 3)
    throw new ShapeError(`scanCell: inputs ${show(xs.shape)}`, { hint: "inputs are [B, T, in]: a batch, the steps, the channels" });
  const { reverse = false } = options;
  const projected = permute(cell.project(xs), [1, 0, 2]); // [T, B, …]
  const first = options.state ?? cell.initial(zeros([xs.shape[0] as number, projected.shape[2] as number], { dtype: projected.dtype }));
  const step = (state: State, x: Tensor): [State, Tensor] => {
    const next = cell.advance(x, state);
    return [next, next.h];
  };
  const [last, hs] = scan(step, first, projected, { reverse });
  return [permute(hs, [1, 0, 2]), last];
}

/** What makes the cells of an {@link Rnn}. */
export interface CellMaker {
  create(key: Tensor, inputs: number, hidden: number, options?: CellOptions): RecurrentCell<HiddenState>;
}

const makerKind: Kind = {
  wanted: "a class of cells: RnnCell, LstmCell or GruCell",
  fits: (value) => (typeof value === "function" || object.fits(value)) && typeof (value as { create?: unknown }).create === "function",
};

export interface RnnOptions {
  /** Cells that run from the last step to the first beside the others, one for each: a bidirectional network. Default: none. */
  readonly reverseCells?: readonly RecurrentCell<HiddenState>[] | null;
  /** The probability with which outputs between layers are dropped where there is a key. Default 0. */
  readonly dropout?: number;
}

export interface RnnCreateOptions extends CellOptions {
  /** How many cells stand one above the other. Default 1. */
  readonly layers?: number;
  /** Whether each layer runs in both directions and hands on the outputs of both, [B, T, 2·H]. Default false. */
  readonly bidirectional?: boolean;
  /** As in {@link RnnOptions}. */
  readonly dropout?: number;
}

/**
 * Cells one above the other: each runs over the outputs of the one below. With cells of the other direction beside them (Schuster & Paliwal 1997) the
 * outputs of a layer are those of both, one after the other: [B, T, 2·H]. PyTorch calls `cells.0.weight_ih` `weight_ih_l0`, and so on: files are
 * exchanged with the option `rename` of `saveTensors` and `loadTensors`, see {@link torchRnnName}.
 */
export class Rnn {
  cells: readonly RecurrentCell<HiddenState>[];
  reverse_cells: readonly RecurrentCell<HiddenState>[] | null;
  readonly _dropout: number;

  constructor(cells: readonly RecurrentCell<HiddenState>[], options: RnnOptions = {}) {
    checkArgument("Rnn", "cells", cells, {
      wanted: "a list of at least one cell",
      fits: (value) => Array.isArray(value) && value.length > 0 && value.every(cellKind.fits),
    });
    const reverseKind: Kind = {
      wanted: `a list of ${cells.length} ${cells.length === 1 ? "cell" : "cells"}, one beside each of the others`,
      fits: (value) => Array.isArray(value) && value.length === cells.length && value.every(cellKind.fits),
    };
    checkOptions("Rnn", options, { reverseCells: optional(orNull(reverseKind)), dropout: optional(fraction) });
    const { reverseCells = null, dropout = 0 } = options;
    this.cells = [...cells];
    this.reverse_cells = reverseCells === null ? null : [...reverseCells];
    this._dropout = dropout;
  }

  /** Rnn.create(key(0), LstmCell, inputs, hidden, { layers: 2, bidirectional: true }) */
  static create(k: Tensor, cell: CellMaker, inputs: number, hidden: number, options: RnnCreateOptions = {}): Rnn {
    checkArgument("Rnn.create", "key", k, keyKind);
    checkArgument("Rnn.create", "cell", cell, makerKind);
    checkOptions("Rnn.create", options, {
      bias: optional(flag),
      layers: optional(integer(1)),
      bidirectional: optional(flag),
      dropout: optional(fraction),
    });
    const { layers = 1, bidirectional = false, dropout = 0, ...ofCell } = options;
    const width = bidirectional ? 2 * hidden : hidden;
    const made = (keys: readonly Tensor[]): RecurrentCell<HiddenState>[] =>
      keys.map((key, layer) => cell.create(key, layer === 0 ? inputs : width, hidden, ofCell));
    const keys = split(k, bidirectional ? 2 * layers : layers);
    return new Rnn(made(keys.slice(0, layers)), { reverseCells: bidirectional ? made(keys.slice(layers)) : null, dropout });
  }

  /** The outputs of the uppermost layer: [B, T, in] → [B, T, H], or [B, T, 2·H] in both directions */
  forward(xs: Tensor, options: ForwardOptions = {}): Tensor {
    return this.run(xs, undefined, options)[0];
  }

  /**
   * The same with the last state of each cell, from which `run` goes on: layer after layer, and in both directions that of the cell before that of
   * the reverse one, whose last step is the first of time.
   */
  run(xs: Tensor, states?: readonly HiddenState[], options: ForwardOptions = {}): [ys: Tensor, states: HiddenState[]] {
    const directions = this.reverse_cells === null ? 1 : 2;
    const count = directions * this.cells.length;
    const statesKind: Kind = { wanted: `a list of ${count} states`, fits: (value) => Array.isArray(value) && value.length === count };
    checkArgument("Rnn.run", "states", states, optional(statesKind));
    checkForward("Rnn.run", options);
    const { key } = options;
    const last: HiddenState[] = [];
    const ys = this.cells.reduce((below, cell, layer) => {
      const input = layer === 0 || key === undefined || this._dropout === 0 ? below : dropout(foldIn(key, layer - 1), below, this._dropout);
      const outputs = [cell, ...(this.reverse_cells === null ? [] : [this.reverse_cells[layer] as typeof cell])].map((one, reversed) => {
        const state = states?.[last.length];
        const [y, end] = scanCell(one, input, { reverse: reversed === 1, ...(state !== undefined && { state }) });
        last.push(end);
        return y;
      });
      return outputs.length === 1 ? (outputs[0] as Tensor) : concat(outputs, -1);
    }, xs);
    return [ys, last];
  }
}

/**
 * The name that PyTorch's RNN, LSTM and GRU have for a parameter of an {@link Rnn}: "lstm.cells.0.weight_ih" → "lstm.weight_ih_l0", and
 * "reverse_cells.0.weight_ih" → "weight_ih_l0_reverse".
 */
export function torchRnnName(path: string): string {
  checkArgument("torchRnnName", "path", path, text);
  return path.replace(/(^|\.)cells\.(\d+)\.(\w+)$/, "$1$3_l$2").replace(/(^|\.)reverse_cells\.(\d+)\.(\w+)$/, "$1$3_l$2_reverse");
}
