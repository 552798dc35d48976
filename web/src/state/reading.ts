// What is being read: the text, the SAEs, and what came back so far. Typing ends the older request.
import { batch, computed, effect, signal } from "@preact/signals";
import { analyze, type Problem } from "../api/client";
import type { CarriedTopic, ReadSae, ReadText } from "../api/types";
import { about } from "./session";

export const MOST = 200_000;
/** How long typing is to pause before the text is read, in ms: with what a headline takes, an answer within a fifth of a second. */
const PAUSE = 120;

export const text = signal("");
/** Names of the SAEs to look through; empty: the default one. */
export const saes = signal<string[]>([]);
/** Features that fire on a larger share of tokens than this are left out; null: none. */
export const maxDensity = signal<number | null>(null);
/** Whether each line is a text of its own. */
export const byLine = signal(false);

export const texts = signal<ReadText[]>([]);
export const topics = signal<CarriedTopic[]>([]);
export const limits = signal<string[]>([]);
export const through = signal<ReadSae[]>([]);
export const running = signal(false);
export const failed = signal<string | null>(null);
/** Of how many parts a single long text is; 1 for all others. */
export const parts = signal(1);
export const took = signal<number | null>(null);

let stop = new AbortController();
let timer = 0;

export function pieces(): string[] {
  // Half a surrogate pair is no character, and no model reads it.
  const whole = text.value.replace(/\p{Surrogate}/gu, "\ufffd");
  return (byLine.value ? whole.split("\n") : [whole]).map((piece) => piece.trim()).filter(Boolean);
}

/** End what is being read. */
export function cancel(): void {
  clearTimeout(timer);
  stop.abort();
  running.value = false;
}

/** How many texts, or parts of one, are to be read. */
export function expected(): number {
  return parts.value > 1 ? parts.value : pieces().length;
}

async function read(): Promise<void> {
  const asked = pieces();
  stop = new AbortController();
  const mine = stop;
  if (!asked.length) {
    batch(() => { texts.value = []; topics.value = []; failed.value = null; running.value = false; });
    return;
  }
  const began = performance.now();
  batch(() => { running.value = true; failed.value = null; });
  let found: ReadText[] = [];
  try {
    for await (const told of analyze({ texts: asked, saes: saes.value, top: asked.length > 1 ? 8 : 40 }, mine.signal)) {
      if (mine.signal.aborted) return;
      if (told.event === "text") {
        found = [...found, told.data.result];
        const pieces = asked.length === 1 ? told.data.parts : 1;
        if (found.length === 1 || pieces > 1 || found.length === asked.length || found.length % 5 === 0) batch(() => { texts.value = found; parts.value = pieces; });
      } else if (told.event === "done") {
        batch(() => {
          topics.value = told.data.topics;
          limits.value = told.data.limits;
          through.value = told.data.saes;
          took.value = performance.now() - began;
        });
      } else if (told.event === "error") failed.value = told.data.detail;
    }
  } catch (error) {
    if (!mine.signal.aborted) failed.value = (error as Problem).message;
  }
  if (!mine.signal.aborted) running.value = false;
}

// Whatever decides what is read begins the reading anew, once it has been still for a moment.
const model = computed(() => about.value?.model.state);
effect(() => {
  void [text.value, saes.value, byLine.value];
  const state = model.value;
  cancel();
  if (state === "ready" || state === "loading") timer = window.setTimeout(() => void read(), PAUSE);
});
