import { describe, expect, it } from "vitest";
import {
  commonWordTask,
  createTask,
  cutExample,
  evaluationExamples,
  frequentWordTask,
  inductionTask,
  labelTask,
  noTarget,
  OptionError,
  passkeyTask,
  posgenTask,
  type Question,
  recallTask,
  type Task,
  type TaskExample,
  type TaskOptions,
  taskTypes,
  textTask,
  trainingWindows,
  variableTask,
} from "../../src/index.js";
import { integers } from "../nn/tiny.js";

const at = (values: ArrayLike<number>, place: number): number => values[place] as number;

/** Examples of both purposes, to be read without a look at the code that made them. */
function examplesOf(task: Task, length: number, count = 20): { example: TaskExample; purpose: string }[] {
  const trained = Array.from({ length: count }, (_, step) => trainingWindows({ task, length, batch: 1, seed: 5 }).at(step));
  const evaluated = evaluationExamples({ task, length, count, seed: 5 }).map((example) => ({ example, purpose: "evaluation" }));
  const windows = trained.map(({ inputs, targets, weights }) => {
    const questions = [...targets.keys()].filter((place) => targets[place] !== noTarget).map((place) => ({ place, kind: "" }));
    return { example: { inputs, targets, questions, ...(weights && { weights }) }, purpose: "training" };
  });
  return [...evaluated, ...windows];
}

const distanceOf = ({ distance }: Question, found: number): void => {
  if (distance !== undefined) expect(distance).toBe(found);
};

const documents = [
  { name: "a", text: "It was a dark and stormy night; the rain fell in torrents, except at occasional intervals.".repeat(3) },
];

const all: Record<string, TaskOptions> = {
  ledger: { type: "ledger", asked: 6 },
  passkey: { type: "passkey", keys: 5, asked: 2 },
  pairs: { type: "passkey", keys: 3, asked: 3, form: "pair", valuesPerKey: 2 },
  recall: { type: "recall", pairs: 6 },
  induction: { type: "induction", segment: 8, symbols: 32, freshWeight: 0.25 },
  recursive: { type: "posgen", rule: "recursive" },
  cot: { type: "posgen", rule: "cot" },
  semi: { type: "posgen", rule: "semi-recursive" },
  variables: { type: "variables" },
  common: { type: "common-words" },
  frequent: { type: "frequent-words" },
  labels: { type: "labels", classes: 6 },
  text: { type: "text", documents, heldOut: documents },
};

describe("every task", () => {
  it("is made by its type, and all types are tried here", () => {
    expect([...new Set(Object.values(all).map(({ type }) => type))].sort()).toEqual([...taskTypes].sort());
    expect(createTask({ type: "passkey", keys: 4 }).vocabulary).toBe(passkeyTask({ keys: 4 }).vocabulary);
    expect(() => createTask({ type: "passky" } as never)).toThrow(/did you mean "passkey"|must be "ledger"/);
    expect(() => createTask({ type: "ledger", keys: 4 } as never)).toThrow(OptionError);
    expect(() => createTask(undefined as never)).toThrow(OptionError);
  });

  it.each(Object.entries(all))("%s gives sound examples, the same again and others for other seeds", (_, options) => {
    const task = createTask(options);
    for (const length of [64, 65]) {
      for (const { example, purpose } of examplesOf(task, length)) {
        const { inputs, targets, questions } = example;
        expect(inputs).toHaveLength(length);
        expect(targets).toHaveLength(length);
        if (task.bos !== null) expect(inputs[0]).toBe(task.bos);
        expect(inputs.every((token) => token >= 0 && token < task.vocabulary)).toBe(true);
        if (task.bos !== null) expect(inputs.lastIndexOf(task.bos)).toBe(0);
        const asked = [...targets.keys()].filter((place) => targets[place] !== noTarget);
        expect(questions.map(({ place }) => place)).toEqual(asked);
        expect(asked.length).toBeGreaterThan(0);
        for (const { place, kind, distance = 1 } of questions) {
          expect(at(targets, place) >= 0 && at(targets, place) < task.vocabulary).toBe(true);
          if (purpose === "evaluation") expect(Object.keys(task.kinds)).toContain(kind);
          expect(Number.isInteger(distance) && distance >= 0).toBe(true);
        }
      }
    }
    const [first] = evaluationExamples({ task, length: 64, count: 1, seed: 1 });
    expect(evaluationExamples({ task, length: 64, count: 2, seed: 1 })[0]).toEqual(first);
    expect(evaluationExamples({ task, length: 64, count: 1, seed: 2 })[0]).not.toEqual(first);
    for (const { chance } of Object.values(task.kinds)) expect(chance > 0 && chance <= 0.5).toBe(true);
  });

  it.each(Object.entries(all))("%s keeps its questions when it is cut, or says that it cannot", (_, options) => {
    const task = createTask(options);
    for (const example of evaluationExamples({ task, length: 96, count: 5 })) {
      const needed = 96 - (example.questions[0] as Question).place + (task.bos === null ? 0 : 1);
      const cut = cutExample(task, example, needed);
      expect(cut.questions.map(({ place, ...rest }) => ({ place: place + 96 - needed, ...rest }))).toEqual(example.questions);
      for (const { place } of cut.questions) expect(at(cut.targets, place)).toBe(at(example.targets, place + 96 - needed));
      if (needed > 1) expect(() => cutExample(task, example, needed - 1)).toThrow(OptionError);
    }
  });
});

describe("passkey", () => {
  it("asks for the value that stands in the one entry of its key", () => {
    const task = passkeyTask({ keys: 5, asked: 2, names: 7, values: 3, fillers: 2 });
    const [entries, questions, fillers, values] = [1, 22, 29, 31];
    for (const { example, purpose } of examplesOf(task, 60)) {
      const { inputs, targets } = example;
      expect([...inputs].filter((token) => token >= entries && token < questions)).toHaveLength(5);
      const asked = [...inputs.keys()].filter((place) => at(inputs, place) >= questions && at(inputs, place) < fillers);
      if (purpose === "evaluation") expect(asked).toEqual([58, 59]);
      else expect(asked.length).toBeGreaterThan(5);
      expect(asked).toEqual(example.questions.map(({ place }) => place));
      for (const question of example.questions) {
        const key = at(inputs, question.place) - questions;
        const found = [...inputs.keys()].filter((place) => {
          const token = at(inputs, place);
          return token >= entries && token < questions && Math.floor((token - entries) / 3) === key;
        });
        expect(found).toHaveLength(1);
        const [place] = found as [number];
        expect(place).toBeLessThan(question.place);
        distanceOf(question, question.place - place);
        expect(at(targets, question.place)).toBe(values + ((at(inputs, place) - entries) % 3));
      }
    }
  });

  it("in pairs with several values asks for each of them in turn", () => {
    const task = passkeyTask({ keys: 3, asked: 3, names: 4, values: 5, valuesPerKey: 2, fillers: 1, form: "pair" });
    const [questions, values] = [5, 14];
    for (const { example, purpose } of examplesOf(task, 50)) {
      const { inputs, targets } = example;
      if (purpose === "evaluation") expect(example.questions.map(({ place }) => place)).toEqual([44, 45, 46, 47, 48, 49]);
      for (const question of example.questions) {
        const asked = at(inputs, question.place) - questions;
        const entries = [...inputs.keys()].filter((place) => at(inputs, place) === 1 + (asked >> 1));
        expect(entries).toHaveLength(2);
        const place = (entries[asked & 1] as number) + 1;
        expect(place).toBeLessThan(question.place);
        expect(at(inputs, place)).toBeGreaterThanOrEqual(values);
        expect(at(targets, question.place)).toBe(at(inputs, place));
        distanceOf(question, question.place - place);
      }
    }
  });

  it("at a depth puts what is asked for there, and nothing else changes its place in the grid", () => {
    for (const form of ["joined", "pair"] as const) {
      const task = passkeyTask({ keys: 4, asked: 2, form });
      const length = 101;
      const width = form === "joined" ? 1 : 2;
      const units = length - 2 - 4 * (width - 1);
      for (const depth of [0, 0.25, 0.5, 0.99, 1]) {
        const examples = evaluationExamples({ task: task.atDepth?.(depth) as Task, length, count: 12 });
        for (const { questions } of examples) {
          expect(questions).toHaveLength(1);
          const { place, distance } = questions[0] as Question;
          expect(place).toBe(length - 1);
          const before = place - (distance as number) - width; // places before the entry, that of the beginning left out
          expect(Math.abs(before - depth * (units - 1))).toBeLessThanOrEqual(0.5 + 3 * (width - 1));
        }
      }
    }
    for (const depth of [-0.1, 1.1, Number.NaN]) expect(() => passkeyTask({ depth })).toThrow(OptionError);
  });

  it("reaches every place alike", () => {
    const places = evaluationExamples({ task: passkeyTask(), length: 12, count: 2000 }).map(
      ({ questions }) => 11 - (questions[0]?.distance as number),
    );
    for (let place = 1; place <= 10; place++) {
      expect(Math.abs(places.filter((found) => found === place).length - 200)).toBeLessThan(60);
    }
  });

  it("needs room, and keys that are there", () => {
    expect(() => evaluationExamples({ task: passkeyTask({ keys: 4 }), length: 5, count: 1 })).toThrow(OptionError);
    expect(evaluationExamples({ task: passkeyTask({ keys: 4 }), length: 6, count: 1 })).toHaveLength(1);
    for (const options of [{ keys: 17 }, { asked: 2 }, { keys: 0 }]) expect(() => passkeyTask(options)).toThrow(OptionError);
  });
});

describe("associative recall", () => {
  it("asks once for each key after all pairs, at the distance of its value", () => {
    const task = recallTask({ pairs: 5, keys: 9, values: 11, fillers: 3 });
    for (const { example } of examplesOf(task, 48)) {
      const { inputs, targets, questions } = example;
      const bound = new Map<number, number>();
      for (let place = 1; place <= 10; place += 2) bound.set(at(inputs, place), place + 1);
      expect(bound.size).toBe(5);
      expect(questions).toHaveLength(5);
      for (const question of questions) {
        const value = bound.get(at(inputs, question.place)) as number;
        expect(question.place).toBeGreaterThan(10);
        expect(at(targets, question.place)).toBe(at(inputs, value));
        expect(at(inputs, value) >= 10 && at(inputs, value) < 21).toBe(true);
        distanceOf(question, question.place - value);
      }
      const rest = [...inputs.subarray(11)].filter((token) => !bound.has(token));
      expect(rest.every((token) => token >= 21 && token < 24)).toBe(true);
      expect(rest).toHaveLength(48 - 11 - 5);
    }
  });

  it("draws gaps by the power law of Zoology", () => {
    // One pair: the share of gap g is (g + 1)^(a − 1) of the sum over all.
    for (const power of [0.01, 1]) {
      const gaps = evaluationExamples({ task: recallTask({ pairs: 1, power }), length: 3 + 16, count: 4000 }).map(
        ({ questions }) => ((questions[0]?.place as number) - 3) / 2,
      );
      const weights = Array.from({ length: 8 }, (_, gap) => (gap + 1) ** (power - 1));
      const sum = weights.reduce((a, b) => a + b);
      weights.forEach((weight, gap) => {
        expect(Math.abs(gaps.filter((found) => found === gap).length / 4000 - weight / sum)).toBeLessThan(0.03);
      });
    }
  });

  it("needs room for its questions, and as many keys and values as pairs", () => {
    // Each key as often as it is wanted, at distinct places, always for its own value.
    for (const { inputs, targets, questions } of evaluationExamples({
      task: recallTask({ pairs: 3, asked: 4, power: 1 }),
      length: 40,
      count: 20,
    })) {
      const pairs = new Map([1, 3, 5].map((at) => [inputs[at], at + 1]));
      expect(questions).toHaveLength(12);
      for (const at of pairs.keys()) expect(questions.filter(({ place }) => inputs[place] === at)).toHaveLength(4);
      for (const { place, distance } of questions) {
        expect(distance).toBe(place - (pairs.get(inputs[place]) as number));
        expect(targets[place]).toBe(inputs[place - (distance as number)]);
      }
    }
    expect(() => evaluationExamples({ task: recallTask({ pairs: 3, asked: 4 }), length: 30, count: 1 })).toThrow(/at least 31 places/);
    expect(evaluationExamples({ task: recallTask({ pairs: 3 }), length: 13, count: 3 })).toHaveLength(3);
    expect(() => evaluationExamples({ task: recallTask({ pairs: 3 }), length: 12, count: 1 })).toThrow(OptionError);
    for (const options of [{ pairs: 33 }, { pairs: 5, values: 4 }]) expect(() => recallTask(options)).toThrow(OptionError);
  });
});

describe("induction", () => {
  it("repeats a segment of tokens that stand nowhere else and asks for what followed each", () => {
    const task = inductionTask({ symbols: 40, segment: 6 });
    for (const { inputs, targets, questions } of evaluationExamples({ task, length: 50, count: 40 })) {
      const repeats = questions.filter(({ kind }) => kind === "repeat");
      expect(repeats.map(({ place }) => place)).toEqual([45, 46, 47, 48, 49]);
      for (const { place, distance } of repeats) {
        const earlier = [...inputs.subarray(0, place)].lastIndexOf(at(inputs, place));
        expect(earlier).toBeGreaterThan(0);
        expect([...inputs].filter((token) => token === at(inputs, place))).toHaveLength(2);
        expect(at(targets, place)).toBe(at(inputs, earlier + 1));
        expect(distance).toBe(place - (earlier + 1));
      }
      const fresh = questions.filter(({ kind }) => kind === "fresh");
      expect(fresh.map(({ place }) => place)).toEqual([39, 40, 41, 42, 43]);
      for (const { place } of fresh) expect(at(targets, place)).toBe(at(inputs, place + 1));
    }
  });

  it("trains on every next token, the fresh ones by their weight", () => {
    const task = inductionTask({ symbols: 40, segment: 6, freshWeight: 0.25 });
    for (let step = 0; step < 20; step++) {
      const { inputs, targets, weights } = trainingWindows({ task, length: 30, batch: 1 }).at(step);
      for (let place = 0; place < 29; place++) expect(at(targets, place)).toBe(at(inputs, place + 1));
      const known = [...(weights as Float32Array)].flatMap((weight, place) => (weight === 1 ? [place] : []));
      expect(known).toHaveLength(5);
      for (const place of known) expect([...inputs.subarray(0, place)]).toContain(at(inputs, place));
      expect([...(weights as Float32Array)].filter((weight) => weight === 0.25)).toHaveLength(25);
    }
    expect(trainingWindows({ task: inductionTask(), length: 40, batch: 1 }).at(0).weights).toBeUndefined();
  });

  it("repeats at every distance that fits", () => {
    const task = inductionTask({ symbols: 40, segment: 4 });
    const found = evaluationExamples({ task, length: 16, count: 400 }).map(({ questions }) => questions.at(-1)?.distance as number);
    expect([...new Set(found)].sort((a, b) => a - b)).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(() => evaluationExamples({ task, length: 7, count: 1 })).toThrow(OptionError);
    expect(() => inductionTask({ symbols: 8, segment: 5 })).toThrow(OptionError);
  });
});

describe("PosGen", () => {
  const numbersOf = ({ inputs }: TaskExample): number[] => [...inputs.subarray(1)].map((token) => token - 1);
  const sum = (...parts: number[]): number => parts.reduce((a, b) => a + b, 0);

  /** The published rules, written out for two far and three near tokens, with a pointer that moves every second token. */
  const next = {
    recursive: (x: number[]) => sum(...x.slice(-5)),
    cot: (x: number[]) => sum(at(x, 0), at(x, 1), ...x.slice(-3)),
    "semi-recursive": (x: number[]) => {
      let pointer = 0;
      for (let length = 5; length < x.length; length++) if ((length - 5) % 2 === 1) pointer++;
      return sum(at(x, pointer), at(x, pointer + 1), ...x.slice(-3));
    },
  };

  it.each(["recursive", "cot", "semi-recursive"] as const)("%s follows its rule, and asks for what follows", (rule) => {
    const task = posgenTask({ rule, far: 2, near: 3, modulus: 11, asked: 9 });
    for (const { example, purpose } of examplesOf(task, 40)) {
      const x = numbersOf(example);
      for (let l = 5; l < x.length; l++) expect(at(x, l)).toBe(next[rule](x.slice(0, l)) % 11);
      const { questions, targets } = example;
      const first = purpose === "evaluation" ? 31 : 5;
      expect(questions.map(({ place }) => place)).toEqual(Array.from({ length: 40 - first }, (_, i) => first + i));
      for (const question of questions) {
        const { place } = question; // where the number before stands
        expect(at(targets, place)).toBe(1 + (next[rule](x.slice(0, place)) % 11));
        const furthest = { recursive: place - 4, cot: 1, "semi-recursive": 1 + Math.floor((place - 5) / 2) }[rule];
        distanceOf(question, place - furthest);
      }
    }
  });

  it("begins with random numbers of the modulus", () => {
    const starts = evaluationExamples({ task: posgenTask({ rule: "cot", modulus: 5 }), length: 8, count: 300 }).map(
      (example) => numbersOf(example)[2],
    );
    expect(new Set(starts)).toEqual(new Set([0, 1, 2, 3, 4]));
    expect(() => evaluationExamples({ task: posgenTask({ rule: "cot" }), length: 4, count: 1 })).toThrow(OptionError);
  });
});

describe("variable tracking", () => {
  it("asks for the value that the assignments lead to, over as many hops as it says", () => {
    const task = variableTask({ chains: 3, hops: 2, names: 12, values: 5, fillers: 2, asked: 4 });
    const [sources, questions, fillers, values] = [13, 25, 37, 39];
    for (const { example, purpose } of examplesOf(task, 70)) {
      const { inputs, targets } = example;
      expect([...inputs].filter((token) => token >= 1 && token < sources)).toHaveLength(9);
      if (purpose === "evaluation") expect(example.questions.map(({ place }) => place)).toEqual([66, 67, 68, 69]);
      for (const question of example.questions) {
        expect(at(inputs, question.place) >= questions && at(inputs, question.place) < fillers).toBe(true);
        let name = at(inputs, question.place) - questions;
        let place = question.place;
        let hops = -1;
        let value: number;
        do {
          const assigned = [...inputs.subarray(0, place)].lastIndexOf(1 + name);
          expect(assigned).toBeGreaterThan(0);
          place = assigned + 1;
          value = at(inputs, place);
          name = value - sources;
          hops++;
        } while (value < questions);
        expect(value).toBeGreaterThanOrEqual(values);
        expect(at(targets, question.place)).toBe(value);
        distanceOf(question, question.place - place);
        if (purpose === "evaluation") expect(question.kind).toBe(`hops${hops}`);
      }
    }
  });

  it("has chains with values of their own", () => {
    const asked = evaluationExamples({ task: variableTask({ asked: 10 }), length: 64, count: 30 });
    for (const { targets } of asked) expect(new Set([...targets].filter((target) => target !== noTarget)).size).toBe(2);
    for (const options of [{ names: 9 }, { asked: 11 }, { chains: 3, values: 2 }]) expect(() => variableTask(options)).toThrow(OptionError);
  });
});

const countsOf = (tokens: Iterable<number>): Map<number, number> => {
  const counts = new Map<number, number>();
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return counts;
};

describe("common words", () => {
  it("stand ten times as often as rare ones, and are told from them", () => {
    const task = commonWordTask({ words: 30, common: 3, rare: 7, asked: 5 });
    for (const { example } of examplesOf(task, 1 + 3 * 20 + 7 * 2 + 5)) {
      const { inputs, targets, questions } = example;
      const counts = countsOf(inputs.subarray(1, 75));
      expect([...counts.values()].sort((a, b) => a - b)).toEqual([2, 2, 2, 2, 2, 2, 2, 20, 20, 20]);
      expect(questions.map(({ place }) => place)).toEqual([75, 76, 77, 78, 79]);
      expect(new Set(questions.map(({ place }) => at(inputs, place))).size).toBe(5);
      for (const { place, kind } of questions) {
        const often = (counts.get(at(inputs, place) - 30) as number) === 20;
        expect(at(targets, place)).toBe(often ? 61 : 62);
        if (kind !== "") expect(kind).toBe(often ? "common" : "rare");
      }
      expect([...targets].filter((target) => target === 61)).toHaveLength(3);
    }
    expect(() => evaluationExamples({ task, length: 8, count: 1 })).toThrow(OptionError);
    for (const options of [{ common: 60 }, { ratio: 1 }, { asked: 9 }]) expect(() => commonWordTask(options)).toThrow(OptionError);
  });
});

describe("frequent words", () => {
  it("fall as a zeta distribution, and the most frequent are asked for by rank", () => {
    const task = frequentWordTask({ words: 30, used: 8, alpha: 2, asked: 3 });
    const zeta = Array.from({ length: 8 }, (_, i) => 1 / (i + 1) ** 2).reduce((a, b) => a + b);
    for (const { example } of examplesOf(task, 204)) {
      const { inputs, targets } = example;
      const ranked = [...countsOf(inputs.subarray(1, 201))].sort((a, b) => b[1] - a[1]);
      expect(ranked).toHaveLength(8);
      ranked.forEach(([, count], i) => {
        expect(Math.abs(count - 200 / (i + 1) ** 2 / zeta)).toBeLessThan(1);
      });
      expect([...inputs.subarray(201)]).toEqual([31, 32, 33]);
      expect([...targets.subarray(201)]).toEqual(ranked.slice(0, 3).map(([word]) => word));
    }
    expect(() => evaluationExamples({ task, length: 9, count: 1 })).toThrow(OptionError);
    for (const options of [{ used: 3 }, { used: 65 }]) expect(() => frequentWordTask(options)).toThrow(OptionError);
  });
});

describe("many-shot labels", () => {
  it.each([40, 41])("asks for the label that the latest shots of a class showed, %d tokens", (length) => {
    const task = labelTask({ classes: 5, words: 3, labels: 7, asked: 4 });
    for (const { example, purpose } of examplesOf(task, length)) {
      const { inputs, targets, questions } = example;
      const classOf = (place: number): number => Math.floor((at(inputs, place) - 1) / 3);
      const words = [...inputs.keys()].filter((place) => at(inputs, place) >= 1 && at(inputs, place) < 16);
      expect(words.at(-1)).toBe(length - 1);
      const asked = words.filter((place) => words.some((earlier) => earlier < place && classOf(earlier) === classOf(place)));
      // At odd lengths the first label belongs to a word that is not shown.
      const places = questions.map(({ place }) => place);
      if (purpose === "evaluation") expect(places).toEqual(words.slice(-4));
      else expect(asked.every((place) => places.includes(place))).toBe(true);
      for (const question of questions) {
        const { place } = question;
        const earlier = words.filter((word) => word < place && classOf(word) === classOf(place)).at(-1);
        const label = earlier === undefined ? 1 : earlier + 1;
        expect(at(targets, place)).toBe(at(inputs, label));
        distanceOf(question, place - label);
        if (place + 1 < length) expect(at(inputs, place + 1)).toBe(at(targets, place));
      }
      // Rounds: every class once in each.
      const start = length % 2 === 0 ? 0 : 4;
      for (let i = start; i + 5 <= words.length; i += 5) {
        expect(
          words
            .slice(i, i + 5)
            .map(classOf)
            .sort(),
        ).toEqual([0, 1, 2, 3, 4]);
      }
    }
  });

  it("asks at every length that it takes, and refuses those in which no class can come a second time", () => {
    for (const classes of [1, 2, 5]) {
      const task = labelTask({ classes, labels: 6 });
      for (let length = 1; length <= 2 * classes; length++) {
        expect(() => evaluationExamples({ task, length, count: 1 })).toThrow(OptionError);
        expect(() => trainingWindows({ task, length, batch: 1 }).at(0)).toThrow(OptionError);
      }
      for (const length of [1, 2, 3].map((more) => 2 * classes + more)) {
        for (const { example } of examplesOf(task, length)) expect(example.questions.length).toBeGreaterThan(0);
      }
    }
  });

  it("shows other labels as often as its noise says, and asks for the true one", () => {
    const task = labelTask({ classes: 2, labels: 4, noise: 0.4, asked: 50 });
    let [wrong, shots] = [0, 0];
    for (const { inputs, targets, questions } of evaluationExamples({ task, length: 200, count: 30 })) {
      for (const { place } of questions.slice(0, -1)) {
        shots++;
        wrong += Number(at(inputs, place + 1) !== at(targets, place));
      }
    }
    expect(Math.abs(wrong / shots - 0.3)).toBeLessThan(0.04);
    expect(() => labelTask({ classes: 4, labels: 3 })).toThrow(OptionError);
    expect(() => labelTask({ noise: 1 })).toThrow(OptionError);
  });
});

describe("text", () => {
  const long = { name: "long", tokens: integers(200, 256, 1) };
  const short = { name: "short", tokens: integers(30, 256, 2) };
  const isIn = (tokens: Int32Array, window: readonly number[]): boolean => ` ${tokens.join(" ")} `.includes(` ${window.join(" ")} `);

  it("asks for the token that follows, in windows of the right documents", () => {
    const task = textTask({ documents: [long], heldOut: [short], asked: 5 });
    for (const { example, purpose } of examplesOf(task, 20)) {
      const { inputs, targets, questions } = example;
      expect(isIn(purpose === "evaluation" ? short.tokens : long.tokens, [...inputs, at(targets, 19)])).toBe(true);
      const first = purpose === "evaluation" ? 15 : 0;
      expect(questions.map(({ place }) => place)).toEqual(Array.from({ length: 20 - first }, (_, i) => first + i));
      for (let place = first; place < 19; place++) expect(at(targets, place)).toBe(at(inputs, place + 1));
    }
  });

  it("holds a tenth out by itself, takes text as bytes, and reaches all windows", () => {
    const task = textTask({ documents: [long] });
    const held = evaluationExamples({ task, length: 10, count: 60 }).map(({ inputs }) => inputs.join());
    for (const { inputs } of evaluationExamples({ task, length: 10, count: 60 }))
      expect(isIn(long.tokens.subarray(180), [...inputs])).toBe(true);
    expect(new Set(held).size).toBe(10);
    const bytes = textTask({ documents: [{ name: "é", text: "é".repeat(20) }], heldOut: [{ name: "a", text: "abc" }] });
    expect(new Set(trainingWindows({ task: bytes, length: 8, batch: 1 }).at(0).inputs)).toEqual(new Set([0xc3, 0xa9]));
    expect(evaluationExamples({ task: bytes, length: 2, count: 1 })[0]?.inputs).toEqual(Int32Array.of(97, 98));
  });

  it("needs tokens of its vocabulary and a document that is long enough", () => {
    expect(() => textTask({ documents: [long], vocabulary: 200 })).toThrow(OptionError);
    const task = textTask({ documents: [long], heldOut: [short] });
    expect(() => evaluationExamples({ task, length: 30, count: 1 })).toThrow(OptionError);
    expect(evaluationExamples({ task, length: 29, count: 1 })).toHaveLength(1);
    expect(() => textTask({ documents: [{ name: "a" }] as never })).toThrow(OptionError);
  });
});
