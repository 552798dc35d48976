// Rows of any page, picked and put into one of your lists.
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { api, type Problem } from "../api/client";
import { useLoaded } from "../state/load";
import { clean } from "../state/words";

/** Addresses of the features picked so far; null while nobody picks. */
export const picked = signal<ReadonlySet<string> | null>(null);

/** The box before a row. */
export function Pick({ name, title }: { name: string; title: string | null | undefined }) {
  const on = picked.value!.has(name);
  const flip = () => (picked.value = new Set(on ? [...picked.value!].filter((own) => own !== name) : [...picked.value!, name]));
  return <input type="checkbox" class="pick" checked={on} aria-label={`Pick ${clean(title) || name}`} onChange={flip} />;
}

/** Begins the picking, and puts what was picked into a list. */
export function Gather() {
  if (picked.value === null) return <button type="button" class="quiet" onClick={() => (picked.value = new Set())}>gather into a list</button>;
  return <Gathering />;
}

function Gathering() {
  const { value: known } = useLoaded("lists", () => api.lists());
  const [list, set] = useState("");
  const [said, say] = useState<{ list: string; count: number } | string | null>(null);
  const names = [...picked.value!];
  const keep = async () => {
    const wanted = list.trim();
    try {
      for (const name of names) await api.enlist(wanted, name, false);
      say({ list: wanted, count: names.length });
      picked.value = new Set();
    } catch (error) {
      say((error as Problem).message);
    }
  };
  return (
    <form class="gather small" aria-label="Gather into a list" onSubmit={(event) => { event.preventDefault(); if (names.length && list.trim()) void keep(); }}>
      <label><span class="vh">List</span><input type="text" list="lists" maxLength={80} placeholder="a list, old or new" value={list} onInput={(event) => set(event.currentTarget.value)} /></label>
      <datalist id="lists">{known?.lists.map((one) => <option key={one.name} value={one.name} />)}</datalist>
      <button type="submit" disabled={!names.length || !list.trim()}>put {names.length} into it</button>
      <button type="button" class="quiet" onClick={() => (picked.value = null)}>done</button>
      <span class="soft" role="status">{said === null ? (names.length ? "" : "tick rows, and name a list") : typeof said === "string" ? said
        : <>{said.count} put into <a href={`/features?which=${encodeURIComponent(`list:${said.list}`)}`}><bdi>{clean(said.list)}</bdi></a></>}</span>
    </form>
  );
}
