/**
 * Tasks: sequences made by code, with targets at some of their places.
 *
 *     place      0    1    2    3    4    5    6    7
 *     inputs   BOS  b:=2  ·   a:=0  ·   b?   e1   ·          a ledger: "b?" asks for what was last written for b
 *     targets    –    –   –    –    –    2   b?   –          −100 where nothing is asked
 *
 * A target need not be the token that follows, so what is asked never stands in the text.
 */
import { checkArgument, checkOptions, integer, type Kind, type OptionKinds, objectWith, optional } from "../../arguments.js";
import { OptionError, ShapeError } from "../../errors.js";
import { type RandomStream, randomStream } from "../../ir/random-stream.js";
import type { TokenSource } from "../../nn/data.js";

/** A target that asks for nothing. */
export const noTarget = -100;

export const exampleKind: Kind = objectWith("an example, as evaluationExamples(…) makes them", "inputs", "targets", "questions");
export const taskKind: Kind = objectWith("a task, as ledgerTask() makes it", "name", "vocabulary", "kinds", "example");

/** One question in a sequence. */
export interface Question {
  /** Its place, whose target is the answer. */
  readonly place: number;
  /** What sort of question it is, one of the task's `kinds`. */
  readonly kind: string;
  /** How many places before it stands what it can be answered from. */
  readonly distance?: number;
}

/** A sequence of N tokens with its questions. */
export interface TaskExample {
  /** [N] */
  readonly inputs: Int32Array;
  /** [N]: the token to predict at each place, {@link noTarget} where nothing is asked. */
  readonly targets: Int32Array;
  /** What each target counts in training, [N]. Default: 1. */
  readonly weights?: Float32Array;
  /** One for each target that is asked, in order of their places. */
  readonly questions: readonly Question[];
}

/**
 * Throws ShapeError unless an example has as many targets and weights as tokens, and OptionError unless its questions are in the order of
 * their places, each with a target, all tokens are in the vocabulary, and weights are finite and at least 0.
 */
export function checkExample(where: string, what: string, example: TaskExample, vocabulary: number): void {
  const { inputs, targets, weights, questions } = example;
  if (targets.length !== inputs.length || (weights !== undefined && weights.length !== inputs.length)) {
    throw new ShapeError(
      `${where}: ${what} has ${inputs.length} tokens, ${targets.length} targets${weights === undefined ? "" : ` and ${weights.length} weights`}`,
    );
  }
  const isToken = (token: number | undefined): boolean => token !== undefined && token >= 0 && token < vocabulary;
  const wrong = inputs.findIndex((token) => !isToken(token));
  if (wrong >= 0) {
    throw new OptionError(`${where}: token ${inputs[wrong]} at place ${wrong} of ${what} is not in the vocabulary of ${vocabulary}`, {
      hint: "the vocab_size of the model is at least the vocabulary of the task",
    });
  }
  const odd = weights?.findIndex((weight) => !(weight >= 0 && weight < Number.POSITIVE_INFINITY)) ?? -1;
  if (odd >= 0) {
    throw new OptionError(`${where}: the weight of ${what} at place ${odd} is ${weights?.[odd]}`, {
      hint: "weights are finite and at least 0",
    });
  }
  for (const [i, { place }] of questions.entries()) {
    if (i > 0 && !(place > (questions[i - 1] as Question).place)) {
      throw new OptionError(`${where}: the questions of ${what} are not in the order of their places`);
    }
    if (!isToken(targets[place])) {
      throw new OptionError(`${where}: ${what} asks at place ${place}, whose target is ${targets[place]}`, {
        hint: `a question needs a target, a token of the vocabulary of ${vocabulary}`,
      });
    }
  }
}

/** What a task makes an example from. */
export interface ExampleRequest {
  /** N: tokens of the sequence, that of the beginning included. */
  readonly length: number;
  /** All that is random in the example comes from here. */
  readonly random: RandomStream;
  /** What the example is for: some tasks ask in the whole of a training window, and only at the end of a sequence that is evaluated. */
  readonly purpose: "training" | "evaluation";
}

/** A sort of question. */
export interface QuestionKind {
  /** Share of right answers without any knowledge of the sequence. */
  readonly chance: number;
  readonly description: string;
}

export interface Task {
  readonly name: string;
  /** Tokens are 0 … vocabulary − 1. */
  readonly vocabulary: number;
  /** The token at place 0 of every sequence, which stays there when a sequence is cut to its end; null for a task without one. */
  readonly bos: number | null;
  readonly kinds: Readonly<Record<string, QuestionKind>>;
  /** An example, as a pure function of the request. Throws OptionError for a length that cannot hold one. */
  readonly example: (request: ExampleRequest) => TaskExample;
  /** The task with what is asked for at a depth d, 0 ≤ d ≤ 1, of each sequence: for a grid of depth by length. Absent where that means nothing. */
  readonly atDepth?: (depth: number) => Task;
}

/** Keeps the examples of training and of evaluation apart from each other and from other draws under the same seed. */
const PURPOSE = { training: 0x7461_736b, evaluation: 0x6576_616c } as const;

export interface TrainingWindowOptions {
  readonly task: Task;
  /** T: tokens of a window. */
  readonly length: number;
  /** B: windows per step. */
  readonly batch: number;
  /** Default 0. */
  readonly seed?: number;
}

const windowKinds: OptionKinds<TrainingWindowOptions> = {
  task: taskKind,
  length: integer(1),
  batch: integer(1),
  seed: optional(integer(0)),
};

/** Examples of a task as training batches: row r of step s is decided by (seed, s, r) alone. */
export function trainingWindows(options: TrainingWindowOptions): TokenSource {
  checkOptions("trainingWindows", options, windowKinds);
  const { task, length, batch, seed = 0 } = options;
  return {
    at(step) {
      const inputs = new Int32Array(batch * length);
      const targets = new Int32Array(batch * length);
      let weights: Float32Array | undefined;
      for (let row = 0; row < batch; row++) {
        const example = task.example({ length, random: randomStream(seed, PURPOSE.training, step, row), purpose: "training" });
        inputs.set(example.inputs, row * length);
        targets.set(example.targets, row * length);
        if (example.weights !== undefined) {
          weights ??= new Float32Array(batch * length).fill(1);
          weights.set(example.weights, row * length);
        }
      }
      return { inputs, targets, batch, length, ...(weights === undefined ? {} : { weights }) };
    },
  };
}

export interface EvaluationExampleOptions {
  readonly task: Task;
  /** N: tokens of each sequence. */
  readonly length: number;
  readonly count: number;
  /** Default 0. */
  readonly seed?: number;
}

/** Sequences to evaluate on: number i is decided by (seed, i) alone, and none is one of training. */
export function evaluationExamples(options: EvaluationExampleOptions): TaskExample[] {
  checkOptions("evaluationExamples", options, { task: taskKind, length: integer(1), count: integer(0), seed: optional(integer(0)) });
  const { task, length, count, seed = 0 } = options;
  return Array.from({ length: count }, (_, i) =>
    task.example({ length, random: randomStream(seed, PURPOSE.evaluation, i), purpose: "evaluation" }),
  );
}

/**
 * The last `context` tokens of an example, the task's first token at their head: the same questions with less to answer them from. Throws
 * OptionError for a context that is longer than the example or that leaves a question out.
 */
export function cutExample(task: Task, example: TaskExample, context: number): TaskExample {
  checkArgument("cutExample", "task", task, taskKind);
  checkArgument("cutExample", "example", example, exampleKind);
  checkArgument("cutExample", "context", context, integer(1));
  const length = example.inputs.length;
  const from = length - context;
  const first = example.questions[0]?.place ?? length;
  const kept = task.bos === null ? from : from + 1;
  if (!Number.isInteger(context) || from < 0 || (from > 0 && first < kept)) {
    throw new OptionError(`an example of ${length} tokens whose first question is at ${first} has no context of ${context}`, {
      hint: `take a context from ${length - first + (task.bos === null ? 0 : 1)} to ${length}`,
    });
  }
  if (from === 0) return example;
  const inputs = example.inputs.slice(from);
  const targets = example.targets.slice(from);
  if (task.bos !== null) {
    inputs[0] = task.bos;
    targets[0] = noTarget;
  }
  const questions = example.questions.map((question) => ({ ...question, place: question.place - from }));
  return { inputs, targets, ...(example.weights === undefined ? {} : { weights: example.weights.slice(from) }), questions };
}
