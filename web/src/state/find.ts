// Features by what is typed for them: an address such as 12/6213, or words of a name.
import { api } from "../api/client";
import { clean } from "./words";

export interface Found { name: string; title: string | null }

async function numbered(text: string): Promise<Found[]> {
  const found = /^(?:(.+)\/)?(\d+)\/(\d+)$/.exec(text.trim());
  if (!found) return [];
  const saes = await api.saes();
  const sae = saes.find((row) => `${row.name}/${found[3]}` === text.trim()) ?? saes.find((row) => String(row.layer) === found[2]);
  return sae && Number(found[3]) < sae.d_sae ? [{ name: `${sae.name}/${found[3]}`, title: null }] : [];
}

/** The feature at the address typed, then those with the words in their names. */
export async function findFeatures(text: string, signal: AbortSignal): Promise<Found[]> {
  if (!text.trim()) return [];
  const [number, page] = await Promise.all([numbered(text), api.search({ q: text, in: ["label"], limit: 8 }, signal).catch(() => null)]);
  const named = page?.hits.map((hit) => ({ name: hit.name, title: clean(hit.title) || null })) ?? [];
  return [...number, ...named.sort((a, b) => fit(b.title, text) - fit(a.title, text))];
}

/** How nearly a name is what was typed: the same, begins with it, has it as a word. */
function fit(title: string | null, text: string): number {
  const name = (title ?? "").toLowerCase(), wanted = text.trim().toLowerCase();
  return name === wanted ? 3 : name.startsWith(wanted) ? 2 : ` ${name}`.includes(` ${wanted}`) ? 1 : 0;
}
