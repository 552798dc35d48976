// Keys that work on every page. They leave text fields alone, and single letters can be turned off.
import { api } from "../api/client";
import { helpAt } from "../parts/Frame";
import { paletteOpen } from "../parts/Palette";
import { go, path } from "./router";
import { about, singleKeys, theme } from "./session";

const PAGES: Record<string, string> = { r: "/", f: "/features", s: "/search", l: "/lists", t: "/steer", y: "/layers", c: "/compare", e: "/saes", u: "/runs" };
let prefix = 0;

/** The feature at the page's address, or null. */
export function featureHere(): { sae: string; index: number } | null {
  const found = /^\/f\/([^/]+\/[^/]+\/[^/]+)\/(\d+)$/.exec(path.value);
  return found && { sae: decodeURIComponent(found[1]!), index: Number(found[2]) };
}

/** Go to a feature drawn by lot, of the same SAE where one is open. */
export async function random(): Promise<void> {
  const sae = featureHere()?.sae;
  const total = sae ? (await api.saes()).find((row) => row.name === sae)?.d_sae : about.value?.features;
  if (!total) return;
  const cursor = Math.floor(Math.random() * total);
  const found = await api.features({ sort: "index", ascending: true, cursor, limit: 1, sae: sae ? [sae] : [] });
  if (found.rows[0]) go(`/f/${found.rows[0].name}`);
}

addEventListener("keydown", (event) => {
  const at = event.target as HTMLElement;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && !at.closest("dialog")) {
    paletteOpen.value = true;
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || !singleKeys.value) return;
  if (at.closest("input, textarea, select, dialog, [contenteditable]")) return;
  const second = Date.now() - prefix < 1500;
  prefix = 0;
  if (second && PAGES[event.key]) go(PAGES[event.key]!);
  else if (event.key === "g") prefix = Date.now();
  else if (event.key === "/") go("/search");
  else if (event.key === "?") helpAt.value = "keys";
  else if (event.key === "t") theme.value = { auto: "light", light: "dark" }[theme.value] ?? "auto";
  else if (event.key === ".") void random();
  else if ((event.key === "[" || event.key === "]") && featureHere()) {
    const { sae, index } = featureHere()!;
    if (index + (event.key === "]" ? 1 : -1) >= 0) go(`/f/${sae}/${index + (event.key === "]" ? 1 : -1)}`);
  } else return;
  event.preventDefault();
});
