// What is being steered: the features, the prompt, how far, and what was written so far.
import { batch, signal } from "@preact/signals";
import { steer, type Problem } from "../api/client";
import type { Arm, Position, Steering, Step, Turned } from "../api/types";
import { loading, waiting } from "./session";
import { quoted } from "./words";

export const MOST = { features: 8, doses: 6, prompt: 500 } as const;

/** Doses that are tried, about, before one is found. */
const ATTEMPTS = 9;
/** How far expectations move, in nats a word, and what that is like in words; more than the last no small model bears. */
export const EFFECTS = [[0.1, "a little"], [0.25, "noticeably"], [0.5, "clearly"], [1, "strongly"], [2, "as far as text holds"]] as const;

/** The number of the step of `EFFECTS` that so many nats reach; −1 below the first. */
export function reached(nats: number): number {
  return EFFECTS.filter(([from]) => from <= nats * 1.05).length - 1;
}

/** So many nats in words. */
export function felt(nats: number): string {
  if (nats > 1.5 * EFFECTS.at(-1)![0]) return "beyond what text holds";
  return EFFECTS[reached(nats)]?.[1] ?? (nats < 0.01 ? "not at all" : "hardly at all");
}

export const features = signal<string[]>([]);
export const prompt = signal("");
/** In units of each feature's own maximum; empty: 1, or less where that is too much. */
export const doses = signal<number[]>([]);
/** Instead of doses: by how many nats a word expectations are to be moved, half a nat unless something else is said; null where doses say how far. */
export const kl = signal<number | null>(0.5);
export const tokens = signal(40);
export const temperature = signal(0.7);
export const seed = signal(0);

/** The features as the server knows them, and the doses that it took. */
export const turned = signal<Turned[]>([]);
/** The doses that were taken, and where in the prompt they are added. */
export const taken = signal<{ doses: number[]; prompt: Position[] }>({ doses: [], prompt: [] });
export const arms = signal<Arm[]>([]);
/** How far it is: the step, the words or attempts in it, and the seconds that the words still to come will take. */
export const progress = signal<{ step: Step | "dose"; count: number; left: number | null }>({ step: "ready", count: 0, left: null });
/** All of it, once it is done. */
export const done = signal<Steering | null>(null);
/** What is under way, in a few words; empty while nothing is. */
export const doing = signal("");
export const failed = signal<string | null>(null);
/** The command that says what `arms` are of. */
export const written = signal("");

let stop = new AbortController();

/** End what is being written. */
export function cancel(): void {
  stop.abort();
  doing.value = "";
}

/** End it where it is not done, and forget it: nobody looks any more. */
export function leave(): void {
  if (doing.value) clear();
}

/** Whether there is something to write. */
export function ready(): boolean {
  return features.value.length > 0 && prompt.value.trim() !== "";
}

/** Forget what was written. */
export function clear(): void {
  cancel();
  batch(() => { arms.value = []; done.value = null; failed.value = null; written.value = ""; });
}

export async function write(): Promise<void> {
  clear();
  stop = new AbortController();
  const mine = stop;
  let began = performance.now();
  batch(() => { doing.value = waiting(); written.value = command(); taken.value = { doses: [], prompt: [] }; progress.value = { step: "ready", count: 0, left: null }; });
  const asked = { features: features.value, prompt: prompt.value, doses: kl.value === null ? doses.value : [], kl: kl.value, tokens: tokens.value, temperature: temperature.value, seed: seed.value, asked: true };
  /** One more word or attempt. */
  const go = (step: Step | "dose", say: (count: number) => string) => {
    const same = progress.value.step === step;
    if (!same) began = performance.now();
    const count = same ? progress.value.count + 1 : 1;
    const left = step !== "dose" && count > 2 ? ((asked.tokens - count) * (performance.now() - began)) / (count - 1) / 1000 : null;
    doing.value = say(count);
    progress.value = { step, count, left };
  };
  try {
    for await (const told of steer(asked, mine.signal)) {
      if (mine.signal.aborted) return;
      batch(() => {
        if (told.event === "loading") { doing.value = loading(told.data.share); progress.value = { step: "ready", count: told.data.share, left: null }; }
        else if (told.event === "state") { doing.value = told.data.detail; progress.value = { step: told.data.step, count: 0, left: null }; }
        else if (told.event === "tried") go("dose", (count) => `finding out how far to turn it: attempt ${count}, what comes next changes ${felt(told.data.moved)}`);
        else if (told.event === "meta") { turned.value = told.data.features; taken.value = told.data; }
        else if (told.event === "written") {
          // What the model writes by itself stays whole while the others come after.
          const [own] = arms.value;
          arms.value = told.data.arms.map((arm) => (arm.kind === "clean" && own?.text.startsWith(arm.text) ? own : arm));
          go(told.data.step, (count) => `${told.data.step === "alone" ? "what the model writes by itself" : "the same with the feature turned, and the control"}: word ${count} of ${asked.tokens}`);
        }
        else if (told.event === "done") { arms.value = told.data.arms; done.value = told.data; }
        else failed.value = told.data.detail;
      });
    }
  } catch (error) {
    if (!mine.signal.aborted) failed.value = (error as Problem).message;
  }
  if (!mine.signal.aborted) doing.value = "";
}

/** Which share of the work is done: of loading, the first time, and then of writing alone, looking for the dose, writing all of it, asking in words. */
export function share(): number {
  const { step, count } = progress.value;
  if (step === "ready") return count;
  const looked = kl.value !== null || !doses.value.length;
  const parts: [Step | "dose", number, number][] = [["alone", looked ? 0.2 : 0, tokens.value], ["dose", looked ? 0.2 : 0, ATTEMPTS], ["turned", looked ? 0.5 : 0.9, tokens.value], ["asked", 0.1, 1]];
  let before = 0;
  for (const [name, part, of] of parts) {
    if (name === step) return before + part * Math.min(1, count / of);
    before += part;
  }
  return 0;
}

/** The same for a terminal. */
export function command(): string {
  const far = kl.value === null ? doses.value.map((dose) => ` --dose ${dose}`).join("") : ` --kl ${kl.value}`;
  return `hooke steer ${features.value.join(" ")} --prompt ${quoted(prompt.value)}${far} --tokens ${tokens.value} --temperature ${temperature.value} --seed ${seed.value} --json`;
}
