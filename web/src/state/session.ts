// Who we are to the server, what the server is, and how the page looks.
import { effect, signal } from "@preact/signals";
import { api, Problem } from "../api/client";
import type { About } from "../api/types";
import { percent } from "./words";

export const about = signal<About | null>(null);
/** Why nothing can be shown, in a sentence; null while all is well. */
export const trouble = signal<string | null>(null);

export const theme = signal(localStorage.getItem("theme") ?? "auto");
export const singleKeys = signal(localStorage.getItem("single-keys") !== "off");
effect(() => {
  document.documentElement.dataset.theme = theme.value;
  localStorage.setItem("theme", theme.value);
  localStorage.setItem("single-keys", singleKeys.value ? "on" : "off");
});

/** Swap the key in the address for a cookie, and take it out of the address; then learn what the server is. */
export async function enter(): Promise<void> {
  const key = /^#k=([\w-]+)$/.exec(location.hash)?.[1];
  if (location.hash.startsWith("#k=")) history.replaceState(null, "", location.pathname + location.search);
  try {
    if (key) await api.session(key);
    await learn();
  } catch (error) {
    trouble.value = (error as Problem).message;
  }
}

/** Ask what the server is, again and again while its model warms. */
async function learn(): Promise<void> {
  about.value = await api.about();
  trouble.value = null;
  if (about.value.model.state === "loading") setTimeout(() => void learn().catch(() => undefined), 700);
}

/** What a page waits for that asked the model and has heard nothing yet. */
/** What is said while that is loaded which writes and predicts, so much of it done. */
export function loading(share: number): string {
  return `loading what writes, the first time only: ${percent(share)}`;
}

export function waiting(): string {
  const model = about.value!.model;
  return model.state === "loading" ? `the model warms up: ${model.detail}` : "waiting for the model; it does one thing at a time";
}
