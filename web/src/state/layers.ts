// What goes through the layers: the text, and what came back so far.
import { batch, signal } from "@preact/signals";
import { lens, type Problem } from "../api/client";
import { loading, waiting } from "./session";
import type { LayerDiffering, LayerReading, SaeDiffering, SaeReading } from "../api/types";

export const MOST = 1000;

export const text = signal("");
/** A second text to hold against it; null where one text is followed. */
export const beside = signal<string | null>(null);
/** The texts that `tokens` are of, joined. */
export const shown = signal("");
export const tokens = signal<string[]>([]);
/** Of two texts: the tokens that stand for each other, what each layer and each SAE finds to differ, and how many tokens stand for none. */
export const differing = signal<{ tokens: [string, string][]; leftOut: number; layers: LayerDiffering[]; saes: SaeDiffering[] } | null>(null);
export const count = signal(0);
export const layers = signal<LayerReading[]>([]);
export const saes = signal<SaeReading[]>([]);
export const changes = signal<string[]>([]);
export const limits = signal("");
export const running = signal(false);
/** What is done before the first layer comes. */
export const doing = signal("");
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

/** What is typed, as `shown` has it. */
export function asked(): string {
  return beside.value === null ? text.value : `${text.value}\n${beside.value}`;
}

export async function read(): Promise<void> {
  cancel();
  stop = new AbortController();
  const mine = stop;
  batch(() => { tokens.value = []; differing.value = null; layers.value = []; saes.value = []; changes.value = []; failed.value = null; running.value = true; doing.value = waiting(); shown.value = asked(); });
  try {
    for await (const told of lens({ text: text.value, beside: beside.value }, mine.signal)) {
      if (mine.signal.aborted) return;
      if (told.event === "loading") doing.value = loading(told.data.share);
      else if (told.event === "meta") batch(() => {
        count.value = told.data.layers;
        if (told.data.left_out === undefined) tokens.value = told.data.tokens as string[];
        else differing.value = { tokens: told.data.tokens as [string, string][], leftOut: told.data.left_out, layers: [], saes: [] };
      });
      else if (told.event === "features_differ") differing.value = { ...differing.value!, saes: [...differing.value!.saes, told.data] };
      else if (told.event === "layers_differ") differing.value = { ...differing.value!, layers: [...differing.value!.layers, told.data] };
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
