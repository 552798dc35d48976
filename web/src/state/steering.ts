// What is being steered: the features, the prompt, how far, and what was written so far.
import { batch, signal } from "@preact/signals";
import { steer, type Problem } from "../api/client";
import type { Arm, Position, Steering, Turned } from "../api/types";
import { waiting } from "./session";
import { quoted } from "./words";

export const MOST = { features: 8, doses: 6, prompt: 500 } as const;

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
/** Words that stand in every text so far, and the seconds that those still to come will take. */
export const progress = signal<{ words: number; left: number | null }>({ words: 0, left: null });
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
  let began = 0, words = 0;
  batch(() => { doing.value = waiting(); written.value = command(); progress.value = { words: 0, left: null }; });
  const asked = { features: features.value, prompt: prompt.value, doses: kl.value === null ? doses.value : [], kl: kl.value, tokens: tokens.value, temperature: temperature.value, seed: seed.value, asked: true };
  try {
    for await (const told of steer(asked, mine.signal)) {
      if (mine.signal.aborted) return;
      if (told.event === "state") doing.value = told.data.detail;
      else if (told.event === "meta") batch(() => { turned.value = told.data.features; taken.value = told.data; began = performance.now(); words = 0; });
      else if (told.event === "written") {
        words += 1;
        batch(() => {
          arms.value = told.data.arms;
          doing.value = `word ${words} of ${asked.tokens}`;
          progress.value = { words, left: words > 2 ? ((asked.tokens - words) * (performance.now() - began)) / words / 1000 : null };
        });
      }
      else if (told.event === "done") batch(() => { arms.value = told.data.arms; done.value = told.data; });
      else failed.value = told.data.detail;
    }
  } catch (error) {
    if (!mine.signal.aborted) failed.value = (error as Problem).message;
  }
  if (!mine.signal.aborted) doing.value = "";
}

/** The same for a terminal. */
export function command(): string {
  const far = kl.value === null ? doses.value.map((dose) => ` --dose ${dose}`).join("") : ` --kl ${kl.value}`;
  return `hooke steer ${features.value.join(" ")} --prompt ${quoted(prompt.value)}${far} --tokens ${tokens.value} --temperature ${temperature.value} --seed ${seed.value} --json`;
}
