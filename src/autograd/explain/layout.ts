/**
 * A layered drawing of a directed graph without cycles, from the top to the bottom (Sugiyama, Tagawa & Toda 1981): layers by the longest
 * path, edges over several layers through bends, an order within each layer by the mean place of the neighbours, and places as near to
 * those as the widths let them be.
 */
export interface Box {
  readonly width: number;
  readonly height: number;
  /** Boxes that this one is drawn below; they come before it. */
  readonly inputs: readonly number[];
}

export interface Layout {
  readonly width: number;
  readonly height: number;
  /** The middle of the top edge of each box. */
  readonly places: readonly { readonly x: number; readonly y: number }[];
  /** For each edge its points, from the bottom of one box to the top of the other. */
  readonly edges: readonly { readonly from: number; readonly to: number; readonly points: readonly (readonly [x: number, y: number])[] }[];
}

interface Item {
  /** undefined for a bend. */
  readonly box: number | undefined;
  readonly width: number;
  readonly above: Item[];
  readonly below: Item[];
  x: number;
}

const gap = { across: 14, down: 26 } as const;
const bendWidth = 4;
const sweeps = 6;

export function layOut(boxes: readonly Box[]): Layout {
  const layerOf = layersOf(boxes);
  const layers: Item[][] = Array.from({ length: Math.max(0, ...layerOf) + (boxes.length > 0 ? 1 : 0) }, () => []);
  const add = (layer: number, box: number | undefined, width: number): Item => {
    const item: Item = { box, width, above: [], below: [], x: 0 };
    layers[layer]?.push(item);
    return item;
  };
  const items = boxes.map(({ width }, i) => add(layerOf[i] as number, i, width));
  const join = (upper: Item, lower: Item): void => {
    upper.below.push(lower);
    lower.above.push(upper);
  };
  const chains = boxes.flatMap(({ inputs }, to) =>
    [...new Set(inputs)].map((from) => {
      const chain = [items[from] as Item];
      for (let layer = (layerOf[from] as number) + 1; layer < (layerOf[to] as number); layer++)
        chain.push(add(layer, undefined, bendWidth));
      chain.push(items[to] as Item);
      for (let i = 1; i < chain.length; i++) join(chain[i - 1] as Item, chain[i] as Item);
      return { from, to, chain };
    }),
  );
  for (const layer of layers) pack(layer);
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      const wanted = new Map(layer.map((item) => [item, meanPlace(down ? item.above : item.below) ?? item.x]));
      layer.sort((a, b) => (wanted.get(a) as number) - (wanted.get(b) as number));
      place(layer, wanted);
    }
  }
  const tops: number[] = [];
  let height = 0;
  for (const layer of layers) {
    tops.push(height);
    height += layer.reduce((most, { box }) => Math.max(most, box === undefined ? 0 : (boxes[box] as Box).height), 0) + gap.down;
  }
  const all = layers.flat();
  const left = all.reduce((least, { x, width }) => Math.min(least, x - width / 2), 0);
  const right = all.reduce((most, { x, width }) => Math.max(most, x + width / 2), left);
  const yOf = (layer: number): number => tops[layer] as number;
  return {
    width: right - left,
    height: Math.max(0, height - gap.down),
    places: items.map(({ x }, i) => ({ x: x - left, y: yOf(layerOf[i] as number) })),
    edges: chains.map(({ from, to, chain }) => ({
      from,
      to,
      points: chain.map(({ x, box }, i): [number, number] => {
        const top = yOf((layerOf[from] as number) + i);
        return [x - left, i === 0 && box !== undefined ? top + (boxes[box] as Box).height : top];
      }),
    })),
  };
}

/** The longest path from above; what reads nothing stands just above what reads it first. */
function layersOf(boxes: readonly Box[]): number[] {
  const layers: number[] = [];
  boxes.forEach(({ inputs }) => {
    layers.push(inputs.reduce((most, input) => Math.max(most, (layers[input] as number) + 1), 0));
  });
  const readAt = boxes.map(() => Number.POSITIVE_INFINITY);
  boxes.forEach(({ inputs }, i) => {
    for (const input of inputs) readAt[input] = Math.min(readAt[input] as number, layers[i] as number);
  });
  return layers.map((layer, i) => (boxes[i]?.inputs.length === 0 && Number.isFinite(readAt[i]) ? (readAt[i] as number) - 1 : layer));
}

const meanPlace = (items: readonly Item[]): number | undefined =>
  items.length === 0 ? undefined : items.reduce((sum, { x }) => sum + x, 0) / items.length;

/** The least distance between the middles of neighbours. */
const apart = (a: Item, b: Item): number => (a.width + b.width) / 2 + gap.across;

/** Side by side. */
function pack(layer: readonly Item[]): void {
  layer.forEach((item, i) => {
    const before = layer[i - 1];
    item.x = before === undefined ? 0 : before.x + apart(before, item);
  });
}

/** Each as near to where it is wanted as its neighbours let it: the mean of what comes from the left and from the right. */
function place(layer: readonly Item[], wanted: ReadonlyMap<Item, number>): void {
  const fromLeft: number[] = [];
  const fromRight: number[] = [];
  layer.forEach((item, i) => {
    const before = layer[i - 1];
    const least = before === undefined ? Number.NEGATIVE_INFINITY : (fromLeft[i - 1] as number) + apart(before, item);
    fromLeft.push(Math.max(wanted.get(item) as number, least));
  });
  for (let i = layer.length - 1; i >= 0; i--) {
    const [item, after] = [layer[i] as Item, layer[i + 1]];
    const most = after === undefined ? Number.POSITIVE_INFINITY : (fromRight[i + 1] as number) - apart(item, after);
    fromRight[i] = Math.min(wanted.get(item) as number, most);
  }
  layer.forEach((item, i) => {
    item.x = ((fromLeft[i] as number) + (fromRight[i] as number)) / 2;
  });
}
