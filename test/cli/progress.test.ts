import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { EvaluationMeter } from "../../src/cli/evaluation-progress.js";
import { createIo } from "../../src/cli/io.js";
import { createProgress, formatCount, formatDuration, formatProgress, SmoothedRate } from "../../src/cli/progress.js";
import { CapturedStream } from "./capture.js";

describe("durations and counts", () => {
  it.each([
    [0.04, "0.0s"],
    [9.94, "9.9s"],
    [9.96, "10s"],
    [59.4, "59s"],
    [59.6, "1m00s"],
    [185, "3m05s"],
    [3599.7, "1h00m"],
    [7650, "2h08m"],
    [86_399, "1d00h"],
    [97 * 3600, "4d01h"],
    [Number.NaN, "?"],
    [Number.POSITIVE_INFINITY, "?"],
  ])("%d seconds are %s", (seconds, text) => expect(formatDuration(seconds)).toBe(text));

  it.each([
    [0, "0.0"],
    [9.94, "9.9"],
    [812, "812"],
    [999.6, "1.0k"],
    [12_345, "12k"],
    [999_600, "1.0M"],
    [20_123_456, "20M"],
    [3.2e9, "3.2G"],
  ])("%d is %s", (count, text) => expect(formatCount(count)).toBe(text));
});

describe("a smoothed rate", () => {
  property.prop([
    fc.double({ min: 0.01, max: 1e6, noNaN: true }),
    fc.array(fc.double({ min: 1e-3, max: 10, noNaN: true }), { minLength: 1 }),
  ])("of a steady stream is its rate at any interval", (rate, intervals) => {
    const smoothed = new SmoothedRate();
    for (const seconds of intervals) smoothed.add(rate * seconds, seconds);
    expect(smoothed.value / rate).toBeCloseTo(1, 9);
  });

  it("follows a change within some seconds and never jumps past it", () => {
    const smoothed = new SmoothedRate();
    smoothed.add(100, 1);
    for (let i = 0; i < 5; i++) smoothed.add(10, 1);
    expect(smoothed.value).toBeGreaterThan(10);
    expect(smoothed.value).toBeLessThan(50);
  });

  it("of long steps is not that of the last one alone, which may have waited for a checkpoint", () => {
    const smoothed = new SmoothedRate();
    for (let i = 0; i < 6; i++) smoothed.add(1, 60);
    smoothed.add(1, 150);
    expect(60 * smoothed.value).toBeGreaterThan(0.75);
    expect(60 * smoothed.value).toBeLessThan(1);
    for (let i = 0; i < 15; i++) smoothed.add(1, 120);
    expect(120 * smoothed.value).toBeCloseTo(1, 0);
  });

  it("carries what came in no time over to the next interval", () => {
    const smoothed = new SmoothedRate();
    smoothed.add(5, 0);
    smoothed.add(5, 1);
    expect(smoothed.value).toBe(10);
  });
});

describe("a progress line", () => {
  const state = { label: "train", step: 7, total: 1000, loss: 2.34567, unit: "tokens", rate: 12_345, secondsLeft: 185, detail: "g=4 t=96" };

  it("has loss, time left and rate", () => {
    expect(formatProgress({ ...state, width: undefined })).toBe("train    7/1000   0%  loss 2.3457  3m05s left  12k tokens/s  g=4 t=96");
  });

  property.prop([fc.integer({ min: 0, max: 120 })])("is never wider than the terminal", (width) => {
    expect(formatProgress({ ...state, width }).length).toBeLessThanOrEqual(width);
  });

  it("keeps the step and the loss longest on a narrow terminal", () => {
    expect(formatProgress({ ...state, width: 40 })).toBe("train    7/1000   0%  loss 2.3457");
  });
});

describe("progress on a stream", () => {
  /** 1000 steps of 0.1 s, 64 tokens each. */
  function drive(stream: CapturedStream, steps = 200) {
    let time = 0;
    const progress = createProgress(stream, { label: "train", total: 1000, now: () => time });
    for (let step = 1; step <= steps; step++) {
      time += 100;
      progress.update({ step, loss: 2, amount: 64 });
    }
    return progress;
  }

  it("that is no terminal gets a plain line every five seconds and no control characters", () => {
    const stream = new CapturedStream(false);
    drive(stream);
    const lines = stream.text.trimEnd().split("\n");
    expect(lines).toHaveLength(4);
    expect(lines[1]).toBe("train   51/1000   5%  loss 2.0000  1m35s left  640 tokens/s");
    for (const control of ["\r", "\u001b"]) expect(stream.text).not.toContain(control);
  });

  it("that is a terminal gets one line, rewritten", () => {
    const stream = new CapturedStream(true, 60);
    const progress = drive(stream, 20);
    expect(stream.text).not.toContain("\n");
    const drawn = stream.text.split("\r\u001b[2K").slice(1);
    expect(drawn).toHaveLength(20);
    for (const line of drawn) expect(line.length).toBeLessThan(60);
    progress.finish();
    expect(stream.text.endsWith("\r\u001b[2Ktrain: 20 steps in 2.0s, loss 2.0000, 640 tokens/s\n")).toBe(true);
  });

  it("counts only the steps of this run after a resumption", () => {
    const stream = new CapturedStream(false);
    let time = 0;
    const progress = createProgress(stream, { label: "train", total: 30, start: 20, now: () => time });
    for (let step = 21; step <= 30; step++) {
      time += 1000;
      progress.update({ step });
    }
    progress.finish();
    expect(stream.text).toContain("train: 10 steps in 10s\n");
  });

  it("takes the time left from a caller that knows it better", () => {
    let time = 0;
    const stream = new CapturedStream();
    const progress = createProgress(stream, { label: "evaluate", total: 10, now: () => time });
    for (let step = 1; step <= 8; step++) {
      time += 1000;
      progress.update({ step, secondsLeft: 77 });
    }
    expect(stream.text).toContain("1m17s left");
    expect(stream.text).not.toContain("4.0s left");
  });

  it("takes the time left of an evaluation from its work: late blocks of a long text take longer than early ones", () => {
    let time = 0;
    const now = () => time;
    const stderr = new CapturedStream();
    const io = createIo({ stdout: new CapturedStream(), stderr, env: {}, json: false, verbose: false, now });
    const meter = new EvaluationMeter(io, "eval", now);
    let work = 0;
    for (let done = 1; done <= 5; done++) {
      time += 1000 * done; // a second for each unit of work
      work += done;
      meter.update({ done, total: 10, tokens: 1, work, totalWork: 55 });
    }
    expect(stderr.text).toMatch(/eval {2}5\/10 {2}50% {2}40s left\n$/);
    meter.finish();
    expect(stderr.text).toContain("eval: 5 steps in ");
  });

  it("leaves the first step, which compiles, out of the rate, and tells none before five steps were timed", () => {
    let time = 0;
    const stream = new CapturedStream();
    const progress = createProgress(stream, { label: "train", total: 10, plainInterval: 0, now: () => time });
    time += 30_000;
    progress.update({ step: 1, amount: 100 });
    for (let step = 2; step <= 5; step++) {
      time += 1000;
      progress.update({ step, amount: 100 });
      expect(progress.rate).toBeUndefined();
    }
    expect(stream.text).not.toContain("tokens/s");
    time += 1000;
    progress.update({ step: 6, amount: 100 });
    expect(progress.rate).toBeCloseTo(100, 9);
    expect(stream.text).toMatch(/train {2}6\/10.*100 tokens\/s\n$/);
  });

  it("has no rate in its last line after two steps", () => {
    let time = 0;
    const stream = new CapturedStream();
    const progress = createProgress(stream, { label: "train", total: 2, now: () => time });
    for (let step = 1; step <= 2; step++) {
      time += 300;
      progress.update({ step, loss: 2, amount: 100 });
    }
    progress.finish();
    expect(stream.text).toMatch(/train: 2 steps in 0.6s, loss 2.0000\n$/);
  });
});
