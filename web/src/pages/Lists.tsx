// Lists: what you starred, noted and gathered; to carry to another machine and back.
import { useState } from "preact/hooks";
import { api, type Problem } from "../api/client";
import { Elsewhere, Empty, Failed } from "../parts/Bits";
import { useLoaded } from "../state/load";
import { clean, number } from "../state/words";

export function ListsPage() {
  const { value, error, again } = useLoaded("lists", () => api.lists());
  const [said, say] = useState("");
  const save = async () => {
    const url = URL.createObjectURL(new Blob([JSON.stringify(await api.notes(), null, 1)], { type: "application/json" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: "hooke-notes.json" });
    link.click();
    URL.revokeObjectURL(url);
  };
  const load = async (file: File | undefined) => {
    if (!file) return;
    try {
      const { taken } = await api.loadNotes(JSON.parse(await file.text()));
      say(`${taken} notes were loaded.`);
      again();
    } catch (caught) {
      say(caught instanceof SyntaxError ? "This file is no JSON; it should be what “save to a file” wrote." : (caught as Problem).message);
    }
  };
  if (error) return <Failed error={error} again={again} />;
  const rows: [string, string, number][] = value ? [
    ["Starred", "starred", value.starred], ["With a note or a name of yours", "noted", value.noted],
    ...value.lists.map((list): [string, string, number] => [list.name, `list:${list.name}`, list.features]),
  ] : [];
  return (
    <div class="narrow">
      <h1>Lists</h1>
      <p class="lede">Features that you marked. They are kept in a file of yours, apart from every atlas, and outlive its rebuilding.</p>
      <ul class="lists-of">{rows.map(([name, which, count]) => (
        <li key={which}>{count ? <a href={`/features?which=${encodeURIComponent(which)}`}><bdi>{clean(name)}</bdi></a> : <bdi class="soft">{clean(name)}</bdi>}<span class="soft">{number(count)}</span></li>
      ))}</ul>
      {value && !value.starred && !value.noted && !value.lists.length && <Empty>Nothing yet. On <a href="/features">a feature's</a> page ☆ stars it, and “Yours” there names it and puts it into a list.</Empty>}
      <p class="actions">
        <button type="button" onClick={() => void save()}>save to a file</button>
        <label class="button">load a file<input type="file" accept="application/json,.json" class="vh" onChange={(event) => void load(event.currentTarget.files?.[0])} /></label>
        <span role="status" class="small soft">{said}</span>
      </p>
      <Elsewhere command="hooke notes --export notes.json" />
    </div>
  );
}
