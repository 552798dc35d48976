// What is being compared: piles of text, or a file with a field; how far that is, and what was found.
import { batch, computed, signal } from "@preact/signals";
import { api, compare, type Problem } from "../api/client";
import type { CompareEvent, CompareRequest, Compared, Table } from "../api/types";
import { go, path, withParams } from "./router";

export interface PileOfText { name: string; text: string }
/** What of a file is used for what. */
export interface Choices { by: string; trend: boolean; groups: string[]; family: string; pair: string; source: string }

export const piles = signal<PileOfText[]>([{ name: "A", text: "" }, { name: "B", text: "" }]);
/** Whether a text is what stands between empty lines, and not each line. */
export const blocks = signal(false);
export const file = signal<{ name: string; content: string; table: Table } | null>(null);
export const choices = signal<Choices>({ by: "", trend: false, groups: [], family: "", pair: "", source: "" });
export const saes = signal<string[]>([]);

export const running = signal(false);
export const began = signal<Extract<CompareEvent, { event: "able" }>["data"] | null>(null);
export const progress = signal<{ said: string; done: number | null; of: number; left: number | null } | null>(null);
export const found = signal<Compared | null>(null);
export const failed = signal<string | null>(null);

let stop = new AbortController();

export function textsOf(text: string): string[] {
  return text.split(blocks.value ? /\n\s*\n/ : "\n").map((one) => one.trim()).filter(Boolean);
}

/** The groups at hand with their numbers of texts. */
export const groups = computed<[string, number][]>(() => {
  if (!file.value) return piles.value.map((pile) => [pile.name, textsOf(pile.text).length]);
  const field = file.value.table.fields.find((one) => one.name === choices.value.by);
  return Object.entries(field?.most ?? {});
});

/** Take in what a person dropped or chose: records go to the file, plain lines to a pile. */
export async function take(given: File, pile = 0): Promise<void> {
  failed.value = null;
  try {
    const content = await given.text();
    if (/\.(jsonl|ndjson|csv|tsv)$/i.test(given.name)) await open(given.name, content, "");
    else edit(pile, { text: content, ...(/^[A-Z]?$/.test(piles.value[pile]!.name) ? { name: given.name.replace(/\.[^.]*$/, "") } : {}) });
  } catch (error) {
    failed.value = (error as Problem).message;
  }
}

export async function open(name: string, content: string, text: string): Promise<void> {
  const table = await api.table(content, name, text);
  batch(() => {
    file.value = { name, content, table };
    choices.value = { by: table.by, trend: false, groups: [], family: "", pair: "", source: "" };
  });
}

export function edit(at: number, change: Partial<PileOfText>): void {
  piles.value = piles.value.map((pile, i) => (i === at ? { ...pile, ...change } : pile));
}

function request(): Partial<CompareRequest> {
  if (!file.value) return { piles: piles.value.map((pile) => ({ name: pile.name, texts: textsOf(pile.text) })), saes: saes.value };
  const { name, content, table } = file.value;
  return { name, content, text: table.text, ...choices.value, saes: saes.value };
}

/** End what is being compared. */
export function cancel(): void {
  stop.abort();
  running.value = false;
}

export async function start(): Promise<void> {
  cancel();
  stop = new AbortController();
  const mine = stop;
  batch(() => { running.value = true; failed.value = null; began.value = null; progress.value = null; found.value = null; });
  if (path.value === "/compare") go(withParams({ id: null }), true);
  const since = performance.now();
  try {
    for await (const told of compare(request(), mine.signal)) {
      if (mine.signal.aborted) return;
      if (told.event === "able") began.value = told.data;
      else if (told.event === "progress") progress.value = { ...told.data, left: left(told.data, performance.now() - since) };
      else if (told.event === "done") found.value = told.data;
      else failed.value = told.data.detail;
    }
    if (found.value && path.value === "/compare") go(withParams({ id: found.value.id }), true);
  } catch (error) {
    if ((error as Error).name !== "AbortError") failed.value = (error as Problem).message;
  } finally {
    if (mine === stop) running.value = false;
  }
}

/** Seconds of reading left, once some has been read. */
function left({ done, of }: { done: number | null; of: number }, passed: number): number | null {
  return done ? ((of - done) * passed) / done / 1000 : null;
}
