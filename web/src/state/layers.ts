// What goes through the layers: the text, and what came back so far.
import { batch, signal } from "@preact/signals";
import { lens, type Problem } from "../api/client";
import type { LayerReading, SaeReading } from "../api/types";

export const MOST = 1000;

export const text = signal("");
/** The text that `tokens` are of. */
export const shown = signal("");
export const tokens = signal<string[]>([]);
export const count = signal(0);
export const layers = signal<LayerReading[]>([]);
export const saes = signal<SaeReading[]>([]);
export const changes = signal<string[]>([]);
export const limits = signal("");
export const running = signal(false);
export const failed = signal<string | null>(null);

let stop = new AbortController();

export function cancel(): void {
  stop.abort();
  running.value = false;
}

/** End it where it is not done, and forget it: nobody looks any more. */
export function leave(): void {
  if (!running.value) return;
  cancel();
  shown.value = "";
}

export async function read(): Promise<void> {
  cancel();
  stop = new AbortController();
  const mine = stop;
  batch(() => { tokens.value = []; layers.value = []; saes.value = []; changes.value = []; failed.value = null; running.value = true; shown.value = text.value; });
  try {
    for await (const told of lens({ text: text.value }, mine.signal)) {
      if (mine.signal.aborted) return;
      if (told.event === "meta") batch(() => { tokens.value = told.data.tokens; count.value = told.data.layers; });
      else if (told.event === "features") saes.value = [...saes.value, told.data];
      else if (told.event === "layer") layers.value = [...layers.value, told.data];
      else if (told.event === "done") batch(() => { changes.value = told.data.changes; limits.value = told.data.limits; });
      else failed.value = told.data.detail;
    }
  } catch (error) {
    if (!mine.signal.aborted) failed.value = (error as Problem).message;
  }
  if (!mine.signal.aborted) running.value = false;
}
